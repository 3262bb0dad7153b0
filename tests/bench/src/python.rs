//! Programs in Python beside this crate, in the virtual environment that the Makefile makes.

use std::path::PathBuf;

use tokio::process::Command;

/// The command that makes the environment.
pub(crate) const INSTALL: &str = "make setup-pymemcache";

/// The interpreter.
pub(crate) fn interpreter() -> PathBuf {
    of_crate("../../target/python/bench/bin/python")
}

/// A program of this name.
pub(crate) fn program(name: &str) -> PathBuf {
    of_crate(name)
}

/// The versions that a program says it runs with, in its order; none: something is missing.
pub(crate) async fn versions<const COUNT: usize>(name: &str) -> Option<[String; COUNT]> {
    let mut command = Command::new(interpreter());
    let output = command.arg(program(name)).arg("--version").output().await.ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let versions: Vec<_> = said.split_whitespace().map(str::to_owned).collect();
    versions.try_into().ok()
}

fn of_crate(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), path].iter().collect()
}
