//! What makes a component of a project: the tools of its language, as its author would type them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::child::{Tool, Tools, failed};
use crate::develop::language::{Language, RUST_TARGET};
use crate::lifecycle::RunError;

const WANTS_NODE: &str = "install Node.js 20 or later, with npm";
const NODE_MIN: u32 = 20;

/// Where tools keep what they need for a moment. It is the folder of the build, so that nothing stays of one that is ended.
const TEMPORARY: &str = "TMPDIR";

/// The modules that are taken for the handler in JavaScript, in this order.
const JS_HANDLERS: [&str; 3] = ["handler.js", "handler.mjs", "handler.ts"];

/// Builds the project in `dir`, and returns where the component is. `folder` is for what is made on the way.
pub(super) async fn build(
    language: Language,
    dir: &Path,
    folder: &Path,
    tools: &mut Tools,
) -> Result<PathBuf, RunError> {
    match language {
        Language::Rust => rust(dir, tools).await,
        Language::Python => python(dir, folder, tools).await,
        Language::JavaScript => javascript(dir, folder, tools).await,
    }
}

/// What `cargo metadata` says.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Metadata {
    /// Where cargo puts the component of the package with this manifest.
    fn component(&self, manifest: &Path) -> Option<PathBuf> {
        let package = self.packages.iter().find(|package| package.manifest_path == manifest)?;
        let is_component = |target: &&Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        let target = package.targets.iter().find(is_component)?;
        let file = format!("{}.wasm", target.name.replace('-', "_"));
        Some(self.target_directory.join(RUST_TARGET).join("release").join(file))
    }
}

async fn rust(dir: &Path, tools: &mut Tools) -> Result<PathBuf, RunError> {
    let tool = |name: &'static str, arguments: &[&str]| {
        let mut tool = Tool::new(name, name.as_ref(), dir, "install Rust by https://rustup.rs");
        tool.command.args(arguments);
        tool
    };
    let libraries = ["--print", "target-libdir", "--target", RUST_TARGET];
    let libraries = tools.ask(&mut tool("rustc", &libraries)).await?;
    if !libraries.is_some_and(|path| Path::new(path.trim_end()).is_dir()) {
        let setup = Language::Rust.setup(dir);
        return Err(failed(format!(
            "the target {RUST_TARGET} of Rust is not installed: run `{setup}`"
        )));
    }
    let metadata = ["metadata", "--no-deps", "--format-version", "1"];
    let Some(metadata) = tools.ask(&mut tool("cargo", &metadata)).await? else {
        return Err(failed(
            "cargo cannot read the Cargo.toml; what it says is above".to_owned(),
        ));
    };
    let metadata: Metadata = serde_json::from_str(&metadata)
        .map_err(|error| failed(format!("cannot read what `cargo metadata` says: {error}")))?;
    let manifest = dir.join("Cargo.toml").canonicalize().map_err(RunError::Runtime)?;
    let component = metadata.component(&manifest).ok_or_else(|| {
        failed("the Cargo.toml is not that of a handler: add crate-type = [\"cdylib\"] under [lib]".to_owned())
    })?;
    let build = ["build", "--lib", "--release", "--target", RUST_TARGET];
    tools.show(&mut tool("cargo", &build)).await?;
    Ok(component)
}

async fn python(dir: &Path, folder: &Path, tools: &mut Tools) -> Result<PathBuf, RunError> {
    let setup = Language::Python.setup(dir);
    let handler = dir.join("handler.py");
    let source = std::fs::read_to_string(&handler)
        .map_err(|error| failed(format!("cannot read the handler {}: {error}", handler.display())))?;
    if !dir.join("sdk/wit").is_dir() {
        let why = "its folder sdk/wit with the contract is missing: take that of a project that `namelock new` makes";
        return Err(failed(why.to_owned()));
    }
    let venv = dir.join(".venv");
    let in_venv = venv.join("bin/componentize-py");
    let program = if in_venv.is_file() {
        in_venv.canonicalize().map_err(RunError::Runtime)?
    } else {
        PathBuf::from("componentize-py")
    };
    let install = format!("run `{setup}`");
    let mut tool = Tool::new("componentize-py", &program, dir, &install);
    if venv.is_dir() {
        tool.command
            .env("VIRTUAL_ENV", venv.canonicalize().map_err(RunError::Runtime)?);
    }
    let world = if lets_update(&source) {
        "registrar-with-updates"
    } else {
        "registrar"
    };
    tool.command.args(["--wit-path", "sdk/wit", "--world", world]);
    // Never with --stub-wasi: it freezes random numbers, so that every call of the component draws the same ones.
    tool.command.args([
        "componentize",
        "--python-path",
        ".",
        "--python-path",
        "sdk",
        "handler",
        "--output",
    ]);
    let made = folder.join("handler.wasm");
    tool.command.arg(&made).env(TEMPORARY, folder);
    tools.show(&mut tool).await?;
    Ok(made)
}

/// Whether a module in Python exports what lets registrations be changed.
fn lets_update(source: &str) -> bool {
    let mut assigned = source
        .lines()
        .filter_map(|line| line.split_once('=')?.0.strip_prefix("Updates"));
    assigned.any(|rest| rest.trim().is_empty() || rest.trim_start().starts_with(':'))
}

async fn javascript(dir: &Path, folder: &Path, tools: &mut Tools) -> Result<PathBuf, RunError> {
    let node = |arguments: &[&str]| {
        let mut node = Tool::new("node", "node".as_ref(), dir, WANTS_NODE);
        node.command.args(arguments);
        node
    };
    let version = tools.ask(&mut node(&["--version"])).await?.unwrap_or_default();
    if !node_is_new_enough(&version) {
        return Err(failed(format!("this is Node.js {}: {WANTS_NODE}", version.trim())));
    }
    let builder = "node_modules/namelock/build.mjs";
    if !dir.join(builder).is_file() {
        let setup = Language::JavaScript.setup(dir);
        return Err(failed(format!(
            "the packages of the project are not installed: run `{setup}`"
        )));
    }
    let Some(handler) = JS_HANDLERS.into_iter().find(|name| dir.join(name).is_file()) else {
        return Err(failed(format!("{} has no {}", dir.display(), JS_HANDLERS.join(" or "))));
    };
    let mut tool = node(&[builder, handler, "--out"]);
    let made = folder.join("handler.wasm");
    tool.command.arg(&made).env(TEMPORARY, folder);
    tools.show(&mut tool).await?;
    Ok(made)
}

fn node_is_new_enough(version: &str) -> bool {
    let major = version
        .trim()
        .strip_prefix('v')
        .and_then(|version| version.split('.').next());
    major
        .and_then(|major| major.parse().ok())
        .is_some_and(|major: u32| major >= NODE_MIN)
}
