//! What shells and `man` know of the command line: made from its declaration, so that neither can differ from what is accepted.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::lifecycle::RunError;
use crate::output::print;

/// The flags of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsFlags {
    /// The shell that completes
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The flags of `man`.
#[derive(Args, Debug)]
pub struct ManFlags {
    /// A directory that gets namelock.1, and a page for each command; otherwise namelock.1 is printed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints what a shell completes after `namelock`.
///
/// # Errors
///
/// When it cannot be written.
pub fn completions(command: &Command, flags: &CompletionsFlags) -> Result<(), RunError> {
    let mut text = Vec::new();
    clap_complete::generate(flags.shell, &mut shown(command), command.get_name(), &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Prints the page of `man`, or writes those of all commands.
///
/// # Errors
///
/// When they cannot be written.
pub fn man(command: &Command, flags: &ManFlags) -> Result<(), RunError> {
    let Some(dir) = &flags.dir else {
        let mut text = Vec::new();
        Man::new(shown(command)).render(&mut text).map_err(RunError::Print)?;
        return print(&String::from_utf8_lossy(&text));
    };
    let write = || {
        std::fs::create_dir_all(dir)?;
        clap_mangen::generate_to(shown(command), dir)
    };
    write().map_err(|source| RunError::Write {
        path: dir.clone(),
        source,
    })
}

/// The commands that a person gives. Completions would list the others too.
fn shown(command: &Command) -> Command {
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("namelock")
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(commands.cloned())
}
