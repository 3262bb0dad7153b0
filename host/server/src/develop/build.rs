//! `namelock build`: makes the component of a project, by the tools of its language.
//!
//! The tools are those that an author would run by hand. What this adds is that it knows their arguments, says what is not
//! installed, and puts the component where a host reads it, whole.

mod child;
mod tools;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use clap::Args;
use namelock_sandbox::Wasm;

use self::child::{Tools, failed};
use super::command;
use super::contents::Contents;
use super::language::Language;
use super::world;
use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::output::print;

/// What to build.
#[derive(Args, Debug)]
pub struct BuildFlags {
    /// The directory of the project
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// After how many seconds the tools are ended
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// Builds a project, and prints what its component is.
///
/// # Errors
///
/// [`RunError::Config`] if the directory has no project in one language; [`RunError::Build`] if its tools do not make a
/// component.
pub fn run(flags: &BuildFlags) -> Result<(), RunError> {
    let language = language(&flags.dir)?;
    let timeout = Duration::from_secs(flags.timeout);
    let text = command::run(None, async |_| build(&flags.dir, timeout, language).await)?;
    print(&text)
}

/// The language of the project in a directory.
pub(super) fn language(dir: &Path) -> Result<Language, ConfigError> {
    let wrong = |problem: String| ConfigError::new(dir.display().to_string(), problem);
    match Language::of(dir).as_slice() {
        [(language, _)] => Ok(*language),
        [] if !dir.is_dir() => Err(wrong("there is no such directory".to_owned())),
        [] => {
            let all: Vec<_> = Language::ALL
                .iter()
                .flat_map(|language| language.marks())
                .copied()
                .collect();
            let all = all.join(", ");
            Err(wrong(format!(
                "this is no project: it has none of {all}; `namelock new` makes one"
            )))
        }
        [(_, first), (_, second), ..] => Err(wrong(format!(
            "this could be a project in two languages, because it has {first} and {second}; move one of them elsewhere"
        ))),
    }
}

/// Builds the project in a directory, with tools that are ended after `timeout`; returns what is to be said of the component.
pub(super) async fn build(dir: &Path, timeout: Duration, language: Language) -> Result<String, RunError> {
    let began = Instant::now();
    let mut tools = Tools::new(timeout)?;
    let folder = tempfile::tempdir().map_err(RunError::Runtime)?;
    let made = tools::build(language, dir, folder.path(), &mut tools).await?;
    let wasm = fs::read(&made).map_err(|error| failed(format!("cannot read the component that was made: {error}")))?;
    let wasm = Wasm::new(wasm);
    let interfaces = world::interfaces(wasm.as_bytes());
    let interfaces = interfaces.map_err(|why| failed(format!("what was made is no component: {why}")))?;
    let contents = Contents {
        sha256: Some(wasm.digest().to_string()),
        imports: interfaces.imports,
        exports: interfaces.exports,
    };
    let path = dir.join("handler.wasm");
    put(&wasm, dir, &path).map_err(|source| RunError::Write {
        path: path.clone(),
        source,
    })?;
    let mut text = format!("{}\n{contents}", path.display());
    // Writing to a text does not fail.
    let _ = writeln!(text, "  size     {} bytes", wasm.bytes());
    let _ = writeln!(
        text,
        "  built    in {:.1} s, from {}",
        began.elapsed().as_secs_f64(),
        language.title()
    );
    Ok(text)
}

/// Puts a component in the place of the one that is there, so that nobody reads half of it.
fn put(wasm: &Wasm, dir: &Path, path: &Path) -> io::Result<()> {
    let part = dir.join(format!(".handler.wasm.{}", process::id()));
    let write = || {
        let mut file = fs::File::create(&part)?;
        file.write_all(wasm.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&part)))
}
