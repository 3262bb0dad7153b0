//! What a host would be configured with, without starting one: `namelock check-config` and `serve --print-config`.

use std::ffi::OsString;

use clap::Args;

use crate::config::source::ConfigError;
use crate::config::{Config, ServeFlags, effective};
use crate::lifecycle::{Identities, RunError, checks, rules};
use crate::output::print;
use crate::tenants::directory;
use crate::text::chain;

/// The arguments of `namelock check-config`.
#[derive(Args, Debug)]
pub struct CheckConfigFlags {
    /// The file that `serve --config` would be given
    #[arg(value_name = "FILE")]
    file: OsString,
}

/// Says all that a host would refuse this file for, or that of its tenants, and prints that it would not.
///
/// A host would serve with a certificate that has ended, so that is a warning.
///
/// Variables of the environment do not count: they configure the hosts of this machine, and the file may be for another one.
pub fn check_config(flags: &CheckConfigFlags) -> Result<(), RunError> {
    let given = ServeFlags {
        config: Some(flags.file.clone()),
        ..ServeFlags::default()
    };
    let config = Config::load(&given, &|_| None)?;
    checks::refuse_contradictions(&config)?;
    let warnings = Identities::open(&config)?.warnings();
    let tenants = check_tenants(&config)?;
    let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    print(&format!(
        "{}: nothing is wrong with it; {tenants}\n{warnings}",
        flags.file.display()
    ))
}

/// Checks the files of the tenants, if they are here, and says how many there are.
fn check_tenants(config: &Config) -> Result<String, RunError> {
    let dir = config.tenants.display();
    if !config.tenants.exists() {
        return Ok(format!("its tenants were not checked, because there is no {dir} here"));
    }
    let candidates = directory::scan(&config.tenants, &rules(config), &config.compiler.cache.dir)?;
    let wrong: Vec<_> = candidates
        .iter()
        .filter_map(|candidate| {
            let error = candidate.error()?;
            Some(ConfigError::new(format!("tenant {}", candidate.id()), chain(error)))
        })
        .collect();
    if !wrong.is_empty() {
        return Err(RunError::Many(wrong));
    }
    checks::refuse_open(&config.http, &candidates)?;
    Ok(format!(
        "the files of its {} tenants in {dir} are right (`namelock check` looks at their components)",
        candidates.len()
    ))
}

/// Prints every setting with its value, as a file.
pub fn print_config(config: &Config) -> Result<(), RunError> {
    checks::refuse_contradictions(config)?;
    print(&effective(config))
}
