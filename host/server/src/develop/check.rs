//! `namelock check`: says everything at once that a host would refuse a component and its `tenant.toml` for.
//!
//! What can be known without compiling is looked at first and takes milliseconds: so a component that is refused is refused
//! within a second. One that passes is compiled, as a host would do it, because only that shows how long it takes and how
//! large it becomes.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use namelock_sandbox::Wasm;
use namelock_sandbox::compiler::{Need, inspect};
use serde::Serialize;

use super::command;
use super::contents::Contents;
use super::subject::Subject;
use super::workshop;
use super::world::{self, Interfaces};
use crate::config::Config;
use crate::lifecycle::RunError;
use crate::output::print;
use crate::tenants::TenantError;
use crate::tenants::plan::Plan;
use crate::text;

/// From which share of a limit on it is said that a component comes near it, in percent.
const NEAR: u64 = 80;

/// From how many bytes on a component is taken for one with a language's runtime inside.
const RUNTIME_BYTES: u64 = 2 << 20;

/// What to check.
#[derive(Args, Debug)]
pub struct CheckFlags {
    /// A component, or the directory of a tenant with its handler.wasm; a tenant.toml beside it is checked too
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// The configuration of the host, for its limits [default: those of a host without one]
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// Does not compile the component
    #[arg(long)]
    no_compile: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a component.
#[derive(Debug, Default, Serialize)]
struct Report {
    component: PathBuf,
    /// Whether a host with this configuration would serve it.
    fits: bool,
    /// Why it would not; each is a sentence.
    problems: Vec<String>,
    /// What its author should know.
    warnings: Vec<String>,
    #[serde(flatten)]
    contents: Contents,
    /// What it takes of each limit.
    limits: Vec<Used>,
    /// How long compiling it took, in milliseconds.
    compile_ms: Option<u64>,
}

/// What a component takes of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Used {
    limit: String,
    has: u64,
    most: u64,
}

impl Used {
    fn new(limit: &str, has: u64, most: u64) -> Self {
        Self {
            limit: limit.to_owned(),
            has,
            most,
        }
    }

    fn percent(&self) -> u64 {
        (u128::from(self.has) * 100 / u128::from(self.most.max(1))).min(999) as u64
    }
}

/// Checks a component, and prints what was found.
///
/// # Errors
///
/// [`RunError::Refused`] if a host would refuse it.
pub fn run(flags: &CheckFlags) -> Result<(), RunError> {
    command::log()?;
    let report = command::run(flags.config.as_ref(), async |config| check(flags, config).await)?;
    print(&if flags.json { report.json() } else { report.text() })?;
    if report.fits {
        return Ok(());
    }
    Err(RunError::Refused {
        component: report.component,
        problems: report.problems.len(),
    })
}

async fn check(flags: &CheckFlags, config: &Config) -> Result<Report, RunError> {
    let mut report = Report {
        component: flags.path.clone(),
        ..Report::default()
    };
    let subject = match Subject::read(&flags.path, config) {
        Ok(subject) => subject,
        Err(error) => {
            report.refuse(error);
            return Ok(report);
        }
    };
    report.component.clone_from(&subject.component);
    report.warnings.extend(subject.skipped());
    if let Some(error) = subject.refused {
        report.refuse(error);
    }
    let plan = Arc::new(subject.plan);
    match plan.read_component().await {
        Err(error) => report.refuse(error),
        Ok(wasm) => {
            report.inspect(&wasm, &plan);
            if report.problems.is_empty() && !flags.no_compile {
                report.compile(&wasm, config, &plan).await?;
            }
        }
    }
    report.fits = report.problems.is_empty();
    Ok(report)
}

impl Report {
    fn refuse(&mut self, error: TenantError) {
        match error {
            TenantError::Config(errors) => self.problems.extend(errors.iter().map(ToString::to_string)),
            error => self.problems.push(text::chain(&error)),
        }
    }

    /// Looks at a component without compiling it.
    fn inspect(&mut self, wasm: &Wasm, plan: &Plan) {
        self.contents.sha256 = Some(wasm.digest().to_string());
        let bytes = wasm.bytes() as u64;
        self.limits
            .push(Used::new("limits.component (bytes)", bytes, plan.component_max as u64));
        let inspection = inspect(wasm.as_bytes(), plan.tenant.limits.memory as u64);
        let used = |need: &Need| Used::new(need.what, need.has, need.most);
        self.limits.extend(inspection.needs.iter().map(used));
        if !inspection.unfit.is_empty() {
            let what = inspection.unfit.describe(usize::MAX);
            self.problems.push(format!("it {what}"));
        }
        match world::interfaces(wasm.as_bytes()) {
            Ok(Interfaces {
                imports,
                exports,
                differences,
            }) => {
                self.problems
                    .extend(differences.iter().map(|difference| format!("it {difference}")));
                self.warnings.extend(warnings(&imports, bytes));
                (self.contents.imports, self.contents.exports) = (imports, exports);
            }
            // What is refused already need not be a component at all.
            Err(_) if !self.problems.is_empty() => {}
            Err(error) => self.problems.push(format!("it is not a valid component: {error}")),
        }
    }

    /// Compiles it as a host would.
    async fn compile(&mut self, wasm: &Wasm, config: &Config, plan: &Plan) -> Result<(), RunError> {
        // Of its own, so that it is not found compiled already.
        let cache = tempfile::tempdir().map_err(RunError::Runtime)?;
        let sandbox = workshop::sandbox(config, &cache.path().join("compiled"), 1)?;
        let most = (config.compiler.artifact as u64).min(plan.artifact_max as u64);
        let (began, cpu_before_ms) = (Instant::now(), children_cpu_ms());
        match workshop::load(&sandbox, wasm, plan).await {
            Ok(loaded) => {
                let took = milliseconds(began.elapsed());
                self.compile_ms = Some(took);
                self.limits
                    .push(Used::new("limits.artifact (bytes)", loaded.artifact_bytes, most));
                let limits = &config.compiler;
                if let (Some(before), Some(after)) = (cpu_before_ms, children_cpu_ms()) {
                    let (used, most) = (after.saturating_sub(before), milliseconds(limits.cpu_time));
                    self.limits.push(Used::new("compiler.cpu_time (ms)", used, most));
                }
                let most = milliseconds(limits.wall_time);
                self.limits.push(Used::new("compiler.wall_time (ms)", took, most));
            }
            Err(error) => {
                if began.elapsed() >= config.compiler.wall_time {
                    let busy = "this machine may have been busy: try again, or raise compiler.wall_time in a file for --config";
                    self.warnings.push(busy.to_owned());
                }
                self.refuse(error);
            }
        }
        Ok(())
    }

    fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}", self.component.display(), self.contents);
        if !self.limits.is_empty() {
            let _ = writeln!(text, "  {:<34} {:>12} {:>12} {:>6}", "limit", "has", "most", "used");
        }
        for used in &self.limits {
            let percent = used.percent();
            let near = if (NEAR..=100).contains(&percent) {
                "  near its limit"
            } else {
                ""
            };
            let Used { limit, has, most } = used;
            let _ = writeln!(text, "  {limit:<34} {has:>12} {most:>12} {percent:>4} %{near}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        for problem in &self.problems {
            let _ = writeln!(text, "refused: {problem}");
        }
        if self.fits && self.compile_ms.is_some() {
            text.push_str("it fits\n");
        } else if self.fits {
            text.push_str("nothing was found that it would be refused for; it was not compiled\n");
        }
        text
    }
}

/// The processor time of the children of this process that have ended (proc_pid_stat(5): cutime and cstime).
fn children_cpu_ms() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process stands in parentheses, and may have anything in it.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(13)? + ticks(14)?) * 1000 / rustix::param::clock_ticks_per_second())
}

/// What its author should know of a component with these imports.
fn warnings(imports: &[String], bytes: u64) -> Vec<String> {
    let imported = |prefix: &str| imports.iter().any(|import| import.starts_with(prefix));
    let mut warnings = Vec::new();
    if imported("wasi:sockets/") {
        warnings
            .push("it imports wasi:sockets, as runtimes do; there is no network, and each call of it fails".to_owned());
    }
    if bytes >= RUNTIME_BYTES && !imported("wasi:random/") {
        warnings.push(
            "it does not import wasi:random: if its language draws random numbers, every request draws the same ones; build \
             without --stub-wasi (componentize-py), and without `random` in disableFeatures (componentize-js)"
                .to_owned(),
        );
    }
    warnings
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_in_percent_and_bounded() {
        let percent = |has, most| Used::new("x", has, most).percent();
        assert_eq!(percent(0, 64), 0);
        assert_eq!(percent(63, 64), 98);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(5, 0), 500);
        assert_eq!(percent(u64::MAX, 1), 999);
    }

    #[test]
    fn a_runtime_without_random_numbers_and_sockets_are_warned_of() {
        let imports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(warnings(&imports(&["wasi:random/random@0.2.6"]), 18 << 20), [""; 0]);
        assert_eq!(warnings(&imports(&[]), 100_000), [""; 0]);
        assert!(warnings(&imports(&["wasi:cli/stderr@0.2.6"]), 18 << 20)[0].contains("wasi:random"));
        let sockets = warnings(&imports(&["wasi:sockets/tcp@0.2.9"]), 100_000);
        assert!(sockets[0].contains("no network"), "{sockets:?}");
    }
}
