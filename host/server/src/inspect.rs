//! What a host would be configured with, without starting one: `namelock check-config` and `serve --print-config`.

use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use clap::Args;

use crate::config::source::ConfigError;
use crate::config::{Config, Rest, ServeFlags, effective};
use crate::lifecycle::{RunError, checks, open_tls};
use crate::output::print;
use crate::tenants::fleet::DATABASE;
use crate::tenants::{Rules, directory};
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
/// A host would serve with a certificate that has ended, so that is a warning. What follows from a section in which something is
/// wrong is not looked at: it would be another mistake, or none, once that is mended.
///
/// Variables of the environment do not count: they configure the hosts of this machine, and the file may be for another one.
pub fn check_config(flags: &CheckConfigFlags) -> Result<(), RunError> {
    let given = ServeFlags {
        config: Some(flags.file.clone()),
        ..ServeFlags::default()
    };
    let rest = Rest::load(&given, &|_| None);
    let mut wrong: Vec<_> = rest.wrong.iter().cloned().map(RunError::from).collect();
    wrong.extend(checks::contradictions(&rest.config, |sections| rest.knows(sections)));
    let warnings = check_certificates(&rest, &mut wrong);
    let tenants = check_tenants(&rest, &mut wrong);
    match wrong.len() {
        0 => print(&format!(
            "{}: nothing is wrong with it; {tenants}\n{warnings}",
            flags.file.display()
        )),
        1 => Err(wrong.swap_remove(0)),
        _ => Err(RunError::Many(wrong)),
    }
}

/// Checks the certificates of the listeners, and says what an operator should know of them.
fn check_certificates(rest: &Rest, wrong: &mut Vec<RunError>) -> String {
    let mut warnings = String::new();
    for (section, files) in [("http", &rest.config.http.tls), ("admin", &rest.config.admin.tls)] {
        if !rest.knows(&[section]) {
            continue;
        }
        match open_tls(section, files) {
            Ok(tls) => {
                if let Some(warning) = tls.and_then(|tls| tls.warning(SystemTime::now())) {
                    warnings.push_str(&format!("warning: {section}.tls_certificate: {warning}\n"));
                }
            }
            Err(error) => wrong.push(error.into()),
        }
    }
    warnings
}

/// What says how the files of tenants are read.
const OF_TENANTS: [&str; 5] = ["tenants", "limits", "names", "lock", "compiler"];

/// Checks the files of the tenants, if they are here, and says how many there are.
fn check_tenants(rest: &Rest, wrong: &mut Vec<RunError>) -> String {
    let config = &rest.config;
    let dir = config.tenants.display();
    if !rest.knows(&OF_TENANTS) {
        return String::new();
    }
    if config.tenants == Path::new(DATABASE) {
        return "its tenants are in the database, and were not checked".to_owned();
    }
    if !config.tenants.exists() {
        return format!("its tenants were not checked, because there is no {dir} here");
    }
    let candidates = match directory::scan(&config.tenants, &Rules::of(config), &config.compiler.cache.dir) {
        Ok(candidates) => candidates,
        Err(error) => {
            wrong.push(error.into());
            return String::new();
        }
    };
    wrong.extend(candidates.iter().filter_map(|candidate| {
        let error = candidate.error()?;
        Some(ConfigError::new(format!("tenant {}", candidate.id()), chain(error)).into())
    }));
    if rest.knows(&["http"]) {
        wrong.extend(checks::refuse_open(&config.http, &candidates).err().map(RunError::from));
    }
    format!(
        "the files of its {} tenants in {dir} are right (`namelock check` looks at their components)",
        candidates.len()
    )
}

/// Prints every setting with its value, as a file.
pub fn print_config(config: &Config) -> Result<(), RunError> {
    checks::refuse_contradictions(config)?;
    print(&effective(config))
}
