//! Where the components are that tests load: the handlers under `guest/handlers`, and the test guests.
//!
//! The build script makes them, and a constant for each: the path of the component.
//!
//! A guest that no test runs tests nothing. So the tests of the host have one module for each guest, named as the guest is,
//! and end with this, which does not compile when one is missing:
//!
//! ```ignore
//! macro_rules! has_a_test {
//!     ($guest:ident) => {
//!         #[expect(unused_imports)]
//!         use self::$guest as _;
//!     };
//! }
//! namelock_test_artifacts::foreach_guest!(has_a_test);
//! ```

use wasm_encoder::{
    Component, ComponentImportSection, ComponentSection as _, ComponentTypeRef, ComponentTypeSection, CustomSection,
    InstanceType,
};

pub mod bombs;

/// A component that imports `wasi:http`, which no handler is given.
pub fn wants_http() -> Vec<u8> {
    let (mut types, mut imports) = (ComponentTypeSection::new(), ComponentImportSection::new());
    types.instance(&InstanceType::new());
    imports.import("wasi:http/outgoing-handler@0.2.0", ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component.finish()
}

/// The same component but for a custom section with a number, so that it has a digest of its own.
pub fn numbered(component: &[u8], number: u32) -> Vec<u8> {
    // Its name is the number; nothing follows it.
    let name = format!("{number:08}");
    let section = CustomSection {
        name: name.into(),
        data: [].as_slice().into(),
    };
    let mut wasm = component.to_vec();
    section.append_to_component(&mut wasm);
    wasm
}

include!(concat!(env!("OUT_DIR"), "/components.rs"));

#[cfg(test)]
mod tests {
    use std::fs;

    use wasmparser::{Encoding, Parser, Payload};

    use super::*;

    /// What the world `registrar` grants; of WASI, whatever a language's runtime may need to start.
    const GRANTED: [&str; 8] = [
        "namelock:registration/locks@",
        "namelock:registration/names@",
        "wasi:config/store@",
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:io/",
        "wasi:random/",
    ];

    #[test]
    fn numbered_components_differ_and_are_components() {
        let wasm = fs::read(ROOMS).unwrap();
        let [one, two] = [1, 2].map(|number| numbered(&wasm, number));
        assert_ne!(one, two);
        for numbered in [one, two] {
            assert!(numbered.starts_with(&wasm));
            let last = Parser::new(0)
                .parse_all(&numbered)
                .map(Result::unwrap)
                .filter(|payload| matches!(payload, Payload::CustomSection(_)))
                .last();
            let Some(Payload::CustomSection(section)) = last else {
                panic!("no custom section")
            };
            assert!(["00000001", "00000002"].contains(&section.name()), "{}", section.name());
        }
    }

    #[test]
    fn a_handler_asks_for_nothing_that_is_not_granted() {
        for handler in [CAMPAIGN_CODES, RENAME, ROOMS, SUBDOMAINS, USERNAMES] {
            for import in imports(handler) {
                let is_granted = GRANTED.iter().any(|granted| import.starts_with(granted));
                assert!(is_granted, "{handler}: {import}");
            }
        }
    }

    #[test]
    fn the_guest_that_wants_sockets_asks_for_them() {
        assert!(
            imports(guests::WANTS_SOCKETS)
                .iter()
                .any(|import| import.starts_with("wasi:sockets/"))
        );
    }

    #[test]
    fn a_component_reserves_64_kib_of_stack() {
        // One page of stack, which `.cargo/config.toml` asks for, and one of everything else. Rust alone reserves 16.
        assert_eq!(memory_pages(guests::PLAIN), 2);
    }

    fn imports(component: &str) -> Vec<String> {
        let bytes = fs::read(component).unwrap();
        let mut imports = Vec::new();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(&bytes) {
            match payload.unwrap() {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => panic!("{component} is a module"),
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 0 => {
                    imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
                }
                _ => {}
            }
        }
        imports
    }

    fn memory_pages(component: &str) -> u64 {
        let bytes = fs::read(component).unwrap();
        let mut pages = 0;
        for payload in Parser::new(0).parse_all(&bytes) {
            if let Payload::MemorySection(section) = payload.unwrap() {
                pages += section.into_iter().map(|memory| memory.unwrap().initial).sum::<u64>();
            }
        }
        pages
    }
}
