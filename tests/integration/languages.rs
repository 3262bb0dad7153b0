//! The reference handler in other languages does what it does in Rust: the same scenarios, played against the components
//! that the tools of each language make of it.

use std::fs;
use std::path::{Path, PathBuf};

use namelock_test_servers::Process;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Limits for a compiler that is not optimised itself, on a machine that may be busy.
const CONFIG: &str = "[compiler]\ncpu_time = \"10m\"\nwall_time = \"30m\"\n";

/// The component of a handler, as the Makefile builds it; `needs` is there once its tools are installed.
fn component(name: &str, needs: &str, setup: &str) -> PathBuf {
    let installed = Path::new(ROOT).join(needs);
    assert!(
        installed.exists(),
        "{} is missing: run `make {setup}`",
        installed.display()
    );
    let component = format!("target/components/{name}.wasm");
    let mut make = Process::command("make", "install make");
    // The variables of a make that has started the tests are not meant for this one.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make
        .args(["--no-print-directory", "-C", ROOT, &component])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot build {component}: {said}");
    Path::new(ROOT).join(component)
}

/// Plays the scenarios of `rooms`.
fn play(component: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("namelock.toml");
    fs::write(&config, CONFIG).unwrap();
    let scenarios = Path::new(ROOT).join("tests/scenarios/rooms.toml");
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    command.arg("test").arg(component).arg("--scenarios").arg(scenarios);
    command
        .arg("--config")
        .arg(config)
        .arg("--cache")
        .arg(folder.path().join("compiled"));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{log}");
}

#[test]
fn rooms_in_python_does_what_it_does_in_rust() {
    play(&component("rooms-python", "target/python/installed", "setup-python"));
}

#[test]
fn rooms_in_javascript_does_what_it_does_in_rust() {
    play(&component(
        "rooms-js",
        "guest/js/node_modules/.installed-lock.json",
        "setup-js",
    ));
}
