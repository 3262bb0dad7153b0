//! On what was measured: without it no figure means anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The lock file of the build, for the versions of crates that are peers.
const LOCK_FILE: &str = include_str!("../../../../Cargo.lock");

/// Programs that tell their versions when they are asked.
const PROGRAMS: [&str; 3] = ["memcached", "redis-server", "rustc"];

/// What a run itself writes is no change of what is measured.
const NOT_WRITTEN_HERE: [&str; 2] = [".", ":!docs/performance*"];

/// The machine, and the versions of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// In UTC, as `2026-01-31 12:00`.
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) profile: String,
    /// The commit, and whether there were changes to it.
    pub(crate) commit: String,
    /// By program or crate. One that is not installed is not here.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Environment {
    pub(crate) fn of_this_machine() -> anyhow::Result<Self> {
        let mut versions: BTreeMap<_, _> = PROGRAMS
            .into_iter()
            .filter_map(|program| Some((program.to_owned(), version(&said(program, &["--version"]).ok()?)?)))
            .collect();
        versions.insert("namelock".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M"])?,
            kernel: said("uname", &["-sr"])?,
            cpu: cpu()?,
            cpus: std::thread::available_parallelism()?.get(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            commit: commit().unwrap_or_else(|_| "unknown".to_owned()),
            versions,
        })
    }

    /// Adds the version of a peer.
    pub(crate) fn version(&mut self, of: &str, version: &str) {
        self.versions.insert(of.to_owned(), version.to_owned());
    }
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", ".."].iter().collect()
}

/// The version of a crate that is built in.
pub(crate) fn locked(name: &str) -> Option<&'static str> {
    let package = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = LOCK_FILE.split_once(&package)?;
    rest.split('"').next()
}

/// What a program says on its standard output, without the end of the line.
fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// The first word that begins with a digit, or with `v=` and a digit, as Redis has it.
fn version(said: &str) -> Option<String> {
    let words = said.split_whitespace().map(|word| word.trim_start_matches("v="));
    let mut numbers = words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    numbers.next().map(str::to_owned)
}

fn commit() -> anyhow::Result<String> {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(NOT_WRITTEN_HERE);
    let changed = !said("git", &status)?.is_empty();
    Ok(if changed {
        format!("{commit} with changes")
    } else {
        commit
    })
}

/// The name of the processor; of one that does not tell its name, the architecture.
fn cpu() -> anyhow::Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(": ")).map(|(_, name)| name.trim());
    Ok(name.unwrap_or(std::env::consts::ARCH).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        let cases = [
            ("memcached 1.6.18", Some("1.6.18")),
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some("1.95.0")),
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
                Some("7.0.15"),
            ),
            ("nothing", None),
        ];
        for (said, expected) in cases {
            assert_eq!(version(said).as_deref(), expected);
        }
    }

    #[test]
    fn the_versions_of_crates_are_those_of_the_lock_file() {
        assert_eq!(locked("memcache"), Some("0.21.0"));
        assert_eq!(locked("no-such-crate"), None);
    }
}
