//! The command line, and the exit codes.

use std::ffi::OsString;
use std::io::Write;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use namelock_sandbox::compiler::{self, ChildConfig};
use namelock_types::{Safety, is_removed};

use crate::backup::{self, NamesFlags};
use crate::config::source::ConfigError;
use crate::config::{Config, ServeFlags};
use crate::develop::build::{self, BuildFlags};
use crate::develop::check::{self, CheckFlags};
use crate::develop::dev::{self, DevFlags};
use crate::develop::new::{self, NewFlags};
use crate::develop::run::{self, RunFlags};
use crate::develop::scenario::{self, TestFlags};
use crate::inspect::{self, CheckConfigFlags};
use crate::lifecycle::{self, Addresses, Manager, RunError};
use crate::manual::{self, CompletionsFlags, ManFlags};
use crate::new_token::{self, TokenCommand};
use crate::operate::deploy::{self, DeployFlags};
use crate::operate::{self, AdminEnv, AdminFlags};
use crate::telemetry::{self, LogWriter};
use crate::top::{self, TopFlags};

/// Registers names for many tenants under a lock that holds across machines.
#[derive(Debug, Parser)]
#[command(
    name = "namelock",
    version,
    arg_required_else_help = false,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the tenants of a directory over HTTP.
    ///
    /// A flag wins over its variable in the environment, which wins over the file. NAMELOCK_LOG filters the log on
    /// standard error, as in `info` or `info,namelock=debug`; NAMELOCK_LOG_FORMAT is `text` or `json`.
    ///
    /// SIGTERM stops it: for `http.lame_duck` it serves on and is not ready, so that balancers send nothing more, which a second
    /// signal skips; then running requests are finished, for at most `http.drain`, and leases are released. SIGINT does the same
    /// without the first part. SIGHUP reads the directory of tenants and `admin.tokens` again.
    ///
    /// Exit codes: 0 after a stop by a signal, 2 for bad usage or configuration, 1 for everything else.
    Serve(ServeCommand),
    /// Makes a small project in Rust, Python or JavaScript that builds as it is.
    ///
    /// It has a handler with tests, a scenario, a tenant.toml, a README with the commands in their order, and in `sdk` what the
    /// handler needs of namelock. Its directory is that of a tenant, so a host can serve it where it is.
    ///
    /// Exit codes: 0 if it was made, 1 if it cannot be written, 2 for bad usage.
    New(NewFlags),
    /// Makes the component of a project, by the tools of its language.
    ///
    /// Runs cargo, componentize-py or componentize-js, shows what they say on standard error, and puts the component as
    /// handler.wasm into the project's directory. Then it prints what the component imports and exports, its digest and size.
    ///
    /// A Cargo.toml tells that a project is in Rust; a requirements.txt or pyproject.toml, in Python; a package.json, in
    /// JavaScript. What is not installed is named, with the command that installs it.
    ///
    /// Exit codes: 0 if it was built, 1 if not, 2 for bad usage.
    Build(BuildFlags),
    /// Says everything at once that a host would refuse a component for, without a server.
    ///
    /// It looks at the imports and exports and their types, at instances, memories and tables, and at the tenant.toml; then it
    /// compiles the component, and shows how near it comes to each limit.
    ///
    /// Exit codes: 0 if it fits, 1 if it is refused, 2 for bad usage or configuration.
    Check(CheckFlags),
    /// Calls a component once, against locks and names in this process, and shows what it took.
    ///
    /// Prints the registration, or the code and text that a caller would be answered, then times, memory and the limits that it
    /// comes near. The tenant's log goes to standard error.
    ///
    /// With --replay it runs a recorded call again, and says whether outcome and log are as recorded.
    ///
    /// Exit codes: 0 if the call did what it was asked for or a replay is as recorded, 1 if not, 2 for bad usage or configuration.
    Run(RunFlags),
    /// Plays scenarios for a component, and tells where it does something else than is written there.
    ///
    /// A scenario is a list of requests with what is expected of each, in a TOML file: docs/scenarios.md shows how. Each is played
    /// on a host of its own, against locks and names in this process, where time passes only when the scenario says so. The
    /// tenant's log goes to standard error.
    ///
    /// Exit codes: 0 if all went as expected, 1 if one did not or the component is refused, 2 for bad usage, configuration or scenarios.
    Test(TestFlags),
    /// Serves a project while it is being written: builds it, and again whenever one of its files changes.
    ///
    /// Calls that run end on the version that they began with, and one that cannot be built or is refused leaves the one before
    /// it in place. Locks and names are in this process and are gone when it stops. Each request is a line on standard error, and so is
    /// what the handler prints.
    ///
    /// Exit codes: 0 after a stop by a signal, 2 for bad usage or configuration, 1 for everything else.
    Dev(DevFlags),
    /// Says all that is wrong with a configuration file and the files of its tenants, without starting anything.
    ///
    /// It goes by these files alone, and not by what a host finds only when it starts: servers, paths, ports, limits of the machine.
    ///
    /// Exit codes: 0 if nothing is wrong with them, 2 if something is.
    CheckConfig(CheckConfigFlags),
    /// Asks running hosts which locks are held and what their tenants do, and steers them.
    ///
    /// Hosts that ask for a token get the one in NAMELOCK_ADMIN_TOKEN or --token-file. Each command says which right its token
    /// needs; on a host without `admin.tokens` none is needed. Several hosts are asked one after the other, also where one of them cannot do it.
    ///
    /// Exit codes: 0 if all hosts did it, 1 if one cannot, or does not answer, 2 for bad usage.
    Admin(AdminFlags),
    /// Puts a tenant's component, its settings, or both, for all hosts of a fleet [right: write; to wait: read]
    ///
    /// The hosts have their tenants in the database (`serve --tenants postgres:`). The first host that is named compiles the component
    /// and tries it; what it refuses is not put. Then it waits until every host that is named serves it.
    ///
    /// Exit codes: 0 if all serve it, 1 if it is refused or not served in time, 2 for bad usage.
    Deploy(DeployFlags),
    /// Shows live in the terminal what running hosts do: their tenants, locks, services and faults.
    ///
    /// It asks hosts as `admin` does and needs the right `read`. `?` shows the keys; `e` ends the lease of the selected lock, which
    /// needs the right `write`. A host that does not answer is shown as such. With NO_COLOR nothing is coloured.
    ///
    /// With --once it prints what there is as text, for scripts; this needs no terminal.
    ///
    /// Exit codes: 0 once it was left, also by a signal; with --once, if all hosts have answered. 2 for bad usage, also
    /// without a terminal. 1 for everything else.
    Top(TopFlags),
    /// Backs up, restores and moves what the names databases keep of a tenant.
    ///
    /// Exit codes: 0 if it was done, 1 if not, 2 for bad usage or configuration.
    Names(NamesFlags),
    /// Creates secrets for callers.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Prints what a shell completes after `namelock`.
    ///
    /// For bash: `namelock completions bash > /etc/bash_completion.d/namelock`; the packages bring it along.
    Completions(CompletionsFlags),
    /// Prints the page of `man` about namelock, or writes those of all commands.
    Man(ManFlags),
    /// Compiles one component, as a child of `serve`: from standard input, to standard output.
    #[command(hide = true)]
    Compile(CompileFlags),
}

#[derive(Args, Debug)]
struct ServeCommand {
    #[command(flatten)]
    flags: ServeFlags,
    /// Prints every setting with its value, as a file, instead of serving; passwords are left out
    #[arg(long)]
    print_config: bool,
}

#[derive(Args, Debug)]
struct CompileFlags {
    #[arg(long)]
    memory: u64,
    #[arg(long)]
    cpu_seconds: u64,
    #[arg(long)]
    memory_max: u64,
}

/// Runs the command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), RunError> {
    let command = match Cli::try_parse_from(arguments) {
        Ok(Cli { command }) => command,
        // Help and version are answers, not errors.
        Err(error) if !error.use_stderr() => return error.print().map_err(RunError::Print),
        Err(error) => return Err(RunError::Config(usage(&error))),
    };
    match command {
        Command::Serve(command) => run_serve(&command),
        Command::New(flags) => new::run(&flags),
        Command::Build(flags) => build::run(&flags),
        Command::Check(flags) => check::run(&flags),
        Command::Run(flags) => run::run(&flags),
        Command::Test(flags) => scenario::run(&flags),
        Command::Dev(flags) => dev::run(&flags),
        Command::CheckConfig(flags) => inspect::check_config(&flags),
        Command::Admin(flags) => operate::run(&flags, AdminEnv::of_process()),
        Command::Deploy(flags) => deploy::run(&flags, AdminEnv::of_process()),
        Command::Names(flags) => backup::run(&flags),
        Command::Top(flags) => top::run(&flags, AdminEnv::of_process()),
        Command::Token(command) => new_token::run(&command),
        Command::Completions(flags) => manual::completions(&Cli::command(), &flags),
        Command::Man(flags) => manual::man(&Cli::command(), &flags),
        Command::Compile(flags) => compile(&flags),
    }
}

/// After so many polls a thread of the runtime looks for what has come over the network.
///
/// Where all threads but one have nothing to do, that one may be the only one to look: it has just been woken by the network, and
/// wakes no other for a single task. A guest that computes is polled for a tick of the epoch at a time, so with tokio's 61
/// everybody else would wait for 61 ms.
// Keeps P6: a guest that computes does not keep others from the network for longer than a few ticks.
const EVENT_INTERVAL: u32 = 4;

/// Reads the configuration and serves until a signal comes.
fn run_serve(command: &ServeCommand) -> Result<(), RunError> {
    let env = |variable: &str| std::env::var_os(variable);
    let manager = Manager::of_process()?;
    // The size of the queue is not known before the configuration is read, and reading it may log.
    let (log, log_thread) =
        LogWriter::start(std::io::stderr(), Config::default().log_queue).map_err(RunError::Runtime)?;
    let log = telemetry::init(env("NAMELOCK_LOG"), env("NAMELOCK_LOG_FORMAT"), log)?;
    let removed: Vec<_> = Safety::ALL.iter().filter(|safety| is_removed(**safety)).collect();
    if !removed.is_empty() {
        tracing::warn!(
            ?removed,
            "this host runs without some of its safeties, as NAMELOCK_WITHOUT says"
        );
    }
    let config = Config::load(&command.flags, &env)?;
    if command.print_config {
        return inspect::print_config(&config);
    }
    log.writer.resize(config.log_queue);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(async {
        let stop = lifecycle::stop_signals().map_err(RunError::Runtime)?;
        let reload = lifecycle::reload_signal().map_err(RunError::Runtime)?;
        lifecycle::serve(config, log, manager, announce, stop, reload).await
    });
    // Whatever still blocks a thread of the pool has had its time to finish.
    runtime.shutdown_background();
    // The last lines come before what the process says of its failure.
    drop(log_thread);
    result
}

/// Compiles one component, in a child of `serve`.
fn compile(flags: &CompileFlags) -> Result<(), RunError> {
    let config = ChildConfig {
        memory: flags.memory,
        cpu_seconds: flags.cpu_seconds,
        memory_max: flags.memory_max,
    };
    compiler::compile(&config, std::io::stdin().lock(), std::io::stdout().lock()).map_err(RunError::Compile)
}

/// Prints on standard output where requests are accepted; a reader that has gone is no reason to stop.
fn announce(addresses: Addresses) {
    let line = format!("listening on {} (admin {})", addresses.public, addresses.admin);
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// Writes what is wrong with the arguments on one line, with the command that shows the help.
fn usage(error: &clap::Error) -> ConfigError {
    let text = error.render().to_string();
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<_> = said
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .collect();
    // What a line introduces belongs to it.
    let said = said.join("; ").replace(":; ", ": ");
    let said = match error.kind() {
        // clap would list the hidden command as well.
        ErrorKind::MissingSubcommand => "a command is missing",
        _ => said.strip_prefix("error: ").unwrap_or(&said),
    };
    // The usage line starts with the command that was meant, followed by its arguments.
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let words = usage.unwrap_or("namelock").split(' ');
    let command: Vec<_> = words.take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    let command = command.join(" ");
    ConfigError::new("usage", format!("{said}; see `{command} --help`"))
}

#[cfg(test)]
mod tests;
