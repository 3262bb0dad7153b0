//! `namelock token new`: makes a secret for a caller or an operator, and the lines of a file that know it.

use clap::{Args, Subcommand};

use crate::config::source::ConfigError;
use crate::lifecycle::RunError;
use crate::output::print;
use crate::tokens::right::{AdminRight, InvalidRight, Right, TokenRight};
use crate::tokens::{NewToken, NewTokenError};

/// The commands of `namelock token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Prints a new secret, and the lines for the tenant.toml of its tenant, or for the file of the host.
    ///
    /// The secret is shown only once; give it to the caller, who sends it as `Authorization: Bearer SECRET`. The file holds
    /// only its SHA-256.
    ///
    /// With --admin it is for an operator: the lines are for the file that `serve --config` is given, and `namelock admin` takes the
    /// secret from NAMELOCK_ADMIN_TOKEN or --token-file.
    New(TokenFlags),
}

/// The arguments of `namelock token new`.
#[derive(Args, Debug)]
pub struct TokenFlags {
    /// The name of the token in the file [default: default]
    #[arg(long, value_name = "NAME", default_value = "default", hide_default_value = true)]
    name: String,
    /// Makes a token for the admin listener of a host, and not for a tenant
    #[arg(long)]
    admin: bool,
    /// The rights of the token, separated by commas [default: register,find,free; with --admin: read]
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',')]
    rights: Option<Vec<String>>,
}

impl TokenFlags {
    /// Prints a new token.
    fn run(&self) -> Result<(), RunError> {
        if self.admin {
            self.make(&[AdminRight::Read])
        } else {
            self.make(&[Right::Register, Right::Find, Right::Free])
        }
    }

    fn make<R: TokenRight<Err = InvalidRight>>(&self, default: &[R]) -> Result<(), RunError> {
        let read = |text: &String| {
            text.parse::<R>()
                .map_err(|error| ConfigError::new("--rights", format!("`{text}` is none; {error}")))
        };
        let given = self.rights.as_ref().map(|texts| texts.iter().map(read).collect());
        let rights: Vec<_> = given.transpose()?.unwrap_or_else(|| default.to_vec());
        let token = NewToken::make(&self.name, &rights).map_err(|error| match error {
            NewTokenError::Invalid(error) => ConfigError::new("token new", error.to_string()).into(),
            NewTokenError::Random(error) => RunError::Runtime(std::io::Error::other(error)),
        })?;
        print(&token.text())
    }
}

/// Runs a command.
///
/// # Errors
///
/// See [`RunError`].
pub fn run(command: &TokenCommand) -> Result<(), RunError> {
    let TokenCommand::New(flags) = command;
    flags.run()
}
