use std::fs;

use namelock_test_artifacts::{ROOMS, bombs, guests, wants_http};
use wasm_encoder::{
    Component, ComponentExportKind, ComponentExportSection, InstanceSection, MemorySection, MemoryType, Module,
    ModuleArg, ModuleSection, NameMap, NameSection, NestedComponentSection,
};

use super::*;

const MEMORY_MAX: u64 = 64 << 20;

fn described(wasm: &[u8]) -> String {
    inspect(wasm, MEMORY_MAX).unfit.describe(8)
}

fn no_args() -> std::iter::Empty<(&'static str, ModuleArg)> {
    std::iter::empty()
}

/// A component with one module of a memory with this many pages, which is instantiated this often.
fn instances(count: usize, pages: u64) -> Component {
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: pages,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut module = Module::new();
    module.section(&memories);
    let mut made = InstanceSection::new();
    for _ in 0..count {
        made.instantiate(0, no_args());
    }
    let mut component = Component::new();
    component.section(&ModuleSection(&module)).section(&made);
    component
}

#[test]
fn a_handler_has_no_problem() {
    for component in [ROOMS, guests::PLAIN, guests::OPEN_FILES] {
        let unfit = inspect(&fs::read(component).unwrap(), MEMORY_MAX).unfit;
        assert!(unfit.is_empty(), "{component}: {unfit:?}");
    }
}

#[test]
fn all_problems_are_said_at_once() {
    let http = described(&wants_http());
    assert!(http.starts_with("imports what is not granted: wasi:http/"), "{http}");
    let most = COMPONENT_MAX.core_instances;
    let expect = format!(
        "has {0} core instances, and {most} are allowed; it has {0} memories, and 4 are allowed; \
         it has 67174400 bytes in a memory at its start, and {MEMORY_MAX} are allowed; \
         it does not fit the world namelock:registration/registrar@0.1.1: it exports no \
         namelock:registration/handler@0.1",
        most + 1
    );
    assert_eq!(described(&instances(most as usize + 1, 1025).finish()), expect);
}

// Shows P6: a component whose instances double at each level is counted, not walked.
#[test]
fn what_is_instantiated_through_other_components_counts() {
    let mut inner = instances(1, 1);
    for _ in 0..40 {
        let mut twice = wasm_encoder::ComponentInstanceSection::new();
        for _ in 0..2 {
            let none: [(&str, ComponentExportKind, u32); 0] = [];
            twice.instantiate(0, none);
        }
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner)).section(&twice);
        inner = outer;
    }
    let said = described(&inner.finish());
    assert!(
        said.starts_with(&format!("has {} core instances", 1_u64 << 40)),
        "{said}"
    );
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    assert_eq!(described(&bombs::deep_components()), "is nested deeper than 64 levels");
}

/// A component with one module, one of whose functions has a name of this length.
fn function_name_of(length: usize) -> Component {
    let mut functions = NameMap::new();
    functions.append(0, "short");
    functions.append(1, &"x".repeat(length));
    let mut names = NameSection::new();
    names.functions(&functions);
    let mut module = Module::new();
    module.section(&names);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component
}

// Shows P6: a trap copies no name that is longer than this.
#[test]
fn a_function_with_an_overlong_name_is_refused() {
    let allowed = described(&function_name_of(FUNCTION_NAME_BYTES_MAX).finish());
    assert!(!allowed.contains("name is"), "{allowed}");
    let refused = described(&function_name_of(FUNCTION_NAME_BYTES_MAX + 1).finish());
    assert_eq!(
        refused,
        "has a function whose name is 16385 bytes long, and 16384 are allowed"
    );
}

#[test]
fn any_version_of_the_handler_is_accepted() {
    let component = |name: &str| {
        let mut exports = ComponentExportSection::new();
        exports.export(name, ComponentExportKind::Instance, 0, None);
        let mut component = Component::new();
        component.section(&exports);
        described(&component.finish())
    };
    assert_eq!(component("namelock:registration/handler@0.1.0"), "");
    assert_eq!(component("namelock:registration/handler@0.1.7"), "");
    assert!(
        component("namelock:registration/handler@0.10.0")
            .contains("it exports namelock:registration/handler@0.10.0, and not")
    );
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let said = described(b"\0asm\x01\0\0\0");
    assert!(
        said.starts_with("is a core module and no component; build it for wasm32-wasip2"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_parsed_is_left_to_the_compiler() {
    assert_eq!(described(&fs::read(ROOMS).unwrap()[..5000]), "");
}

#[test]
fn what_is_no_binary_is_refused() {
    for wasm in [&b"(component)"[..], b""] {
        assert!(described(wasm).starts_with("is no WebAssembly binary"), "{wasm:?}");
    }
}
