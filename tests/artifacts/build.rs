//! Builds the components and writes down where they are.
//!
//! Cargo cannot depend on a package for another target, so this calls a second cargo. That one has a target directory of
//! its own: the first holds the lock on the usual one while it waits for us.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "guest";

/// The component that is no handler, in `guest/http`.
const TURNSTILE: &str = "turnstile";

/// What else than the sources decides what comes out.
const SETTINGS: [&str; 3] = [".cargo/config.toml", "Cargo.toml", "Cargo.lock"];
const SOURCES: [&str; 3] = ["guest", "tests/guests", "wit"];

/// What the first cargo, or a tool around it, says about building for the host. The flags would replace those of
/// `.cargo/config.toml`; the wrappers check or instrument, which is for the host's crates.
const NOT_FOR_GUESTS: [&str; 5] = [
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest
        .ancestors()
        .nth(2)
        .ok_or("this crate is not in `tests/artifacts` of a workspace")?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    for path in SOURCES.iter().chain(&SETTINGS) {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    require_target()?;

    let handlers = handlers(&root.join("guest/handlers"))?;
    // `target/PROFILE/build/PACKAGE/out`: one target directory for every way in which this script is built, because the
    // guests are the same for all of them and take minutes.
    let target_dir = out
        .ancestors()
        .nth(4)
        .ok_or("OUT_DIR is not below a target directory")?
        .join("guests");
    build(root, &target_dir, &handlers)?;
    let components = target_dir.join(TARGET).join(PROFILE);
    let mut guests = guests_in_rust(&root.join("tests/guests/examples"), &components.join("examples"))?;
    guests.extend(raw_guests(&root.join("tests/guests/raw"), &root.join("wit"), &out)?);
    guests.sort();

    let mut code = String::new();
    for handler in &handlers {
        let path = component(&components, handler, "crate-type = [\"cdylib\"] in its Cargo.toml")?;
        constant(&mut code, handler, &format!("The handler `{handler}`."), &path);
    }
    let path = component(&components, TURNSTILE, "crate-type = [\"cdylib\"] in its Cargo.toml")?;
    constant(
        &mut code,
        TURNSTILE,
        "A plain `wasi:http` component with the lock.",
        &path,
    );
    code.push_str("/// The guests that test the host.\npub mod guests {\n");
    for guest in &guests {
        constant(&mut code, &guest.name, &guest.doc, &guest.path);
    }
    all(&mut code, &guests);
    code.push_str("}\n");
    for_each(&mut code, &guests);
    fs::write(out.join("components.rs"), code).map_err(|error| format!("cannot write components.rs: {error}"))
}

/// A component that tests the host.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Guest {
    name: String,
    doc: String,
    path: PathBuf,
}

/// Finds out early what would otherwise be a hundred errors about a missing `core`.
fn require_target() -> Result<(), String> {
    let output = Command::new(variable("RUSTC")?)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("cannot run rustc: {error}"))?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "the test components need the target {TARGET}, which is not installed: run `rustup target add {TARGET}`"
    ))
}

/// Runs the second cargo. It shares the first one's job server, so that both together use no more cores than one.
fn build(root: &Path, target_dir: &Path, handlers: &[String]) -> Result<(), String> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(root)
        .args([
            "build",
            "--locked",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target_dir)
        .args(["--lib", "--examples", "--package", "namelock-test-guests"])
        .args(["--package", TURNSTILE])
        .args(handlers.iter().flat_map(|handler| ["--package", handler]));
    for name in NOT_FOR_GUESTS {
        cargo.env_remove(name);
    }
    let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cannot build the components: {cargo:?} ended with {status}"))
    }
}

/// Lists the handlers in Rust. The package of a handler is called as its folder is.
fn handlers(folder: &Path) -> Result<Vec<String>, String> {
    let mut names = names_in(folder)?;
    names.retain(|name| folder.join(name).join("Cargo.toml").is_file());
    Ok(names)
}

/// Lists the guests in Rust, which are built.
fn guests_in_rust(sources: &Path, components: &Path) -> Result<Vec<Guest>, String> {
    let guest = |name: String| {
        Ok(Guest {
            doc: first_sentence(&sources.join(format!("{name}.rs")), "//! ")?,
            path: component(components, &name, "an [[example]] in tests/guests/Cargo.toml")?,
            name,
        })
    };
    names_with(sources, ".rs")?.into_iter().map(guest).collect()
}

/// Writes out the repetitions of a raw guest: a line that ends in `;; × N` stands for N lines.
fn repeat(source: &str) -> Result<String, Box<dyn Error>> {
    let mut repeated = String::new();
    for line in source.lines() {
        let (line, times) = match line.rsplit_once(";; × ") {
            Some((line, times)) => (line, times.parse().map_err(|_| format!("{times:?} is no number"))?),
            None => (line, 1),
        };
        for _ in 0..times {
            repeated.push_str(line);
            repeated.push('\n');
        }
    }
    Ok(repeated)
}

/// Makes components of the guests that are written as core modules in WebAssembly's text: what a compiler would never do.
fn raw_guests(sources: &Path, wit: &Path, out: &Path) -> Result<Vec<Guest>, String> {
    let mut resolve = Resolve::default();
    let world = resolve
        .push_dir(wit)
        .and_then(|(package, _)| resolve.select_world(&[package], Some("registrar")))
        .map_err(|error| format!("cannot read {}: {error:#}", wit.display()))?;
    let guest = |name: String| {
        let source = sources.join(format!("{name}.wat"));
        let path = out.join(format!("{name}.wasm"));
        let encode = || -> Result<(), Box<dyn Error>> {
            let mut component = wat::parse_str(repeat(&fs::read_to_string(&source)?)?)?;
            if !wasmparser::Parser::is_component(&component) {
                embed_component_metadata(&mut component, &resolve, world, StringEncoding::UTF8)?;
                component = ComponentEncoder::default()
                    .module(&component)?
                    .validate(true)
                    .encode()?;
            }
            Ok(fs::write(&path, component)?)
        };
        encode().map_err(|error| format!("cannot make a component of {}: {error:#}", source.display()))?;
        Ok(Guest {
            doc: first_sentence(&source, ";;! ")?,
            path,
            name,
        })
    };
    names_with(sources, ".wat")?.into_iter().map(guest).collect()
}

/// Lists the files in `folder` whose names end in `ending`, without it.
fn names_with(folder: &Path, ending: &str) -> Result<Vec<String>, String> {
    let names = names_in(folder)?;
    Ok(names
        .iter()
        .filter_map(|name| name.strip_suffix(ending))
        .map(str::to_owned)
        .collect())
}

/// Lists what is in `folder`, in order.
fn names_in(folder: &Path) -> Result<Vec<String>, String> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    };
    list().map_err(|error| format!("cannot list {}: {error}", folder.display()))
}

fn component(folder: &Path, name: &str, need: &str) -> Result<PathBuf, String> {
    let path = folder.join(format!("{}.wasm", name.replace('-', "_")));
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{name} was not built: does it have {need}?"))
    }
}

fn first_sentence(source: &Path, comment: &str) -> Result<String, String> {
    let text = fs::read_to_string(source).map_err(|error| format!("cannot read {}: {error}", source.display()))?;
    let line = text.lines().next().and_then(|line| line.strip_prefix(comment));
    line.map(str::to_owned)
        .ok_or_else(|| format!("{} does not say in its first line what it does", source.display()))
}

fn constant(code: &mut String, name: &str, doc: &str, path: &Path) {
    let name = name.replace('-', "_").to_uppercase();
    // Writing to a String cannot fail.
    let _ = writeln!(code, "#[doc = {doc:?}]\npub const {name}: &str = {path:?};");
}

fn all(code: &mut String, guests: &[Guest]) {
    code.push_str("/// Each test guest with its name.\npub const ALL: &[(&str, &str)] = &[\n");
    for guest in guests {
        let _ = writeln!(code, "({:?}, {}),", guest.name, guest.name.to_uppercase());
    }
    code.push_str("];\n");
}

fn for_each(code: &mut String, guests: &[Guest]) {
    code.push_str(
        "/// Calls a macro with the name of each test guest.\n\
         #[macro_export]\n\
         macro_rules! foreach_guest {\n\
         ($mac:ident) => {\n",
    );
    for guest in guests {
        let _ = writeln!(code, "$mac!({});", guest.name);
    }
    code.push_str("};\n}\n");
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cargo does not say {name}: {error}"))
}
