//! The log, on standard error.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::config::source::ConfigError;
use crate::error::{ErrorKind, Problem};
use crate::metrics::{Operation, code};

/// Starts the log; `filter` is the value of `NAMELOCK_LOG`.
pub fn init(filter: Option<OsString>) -> Result<(), ConfigError> {
    let wrong = |problem: String| {
        ConfigError::new(
            "NAMELOCK_LOG",
            format!("{problem}; write a level, as in info, or several separated by commas, as in info,namelock=debug"),
        )
    };
    let filter = filter.unwrap_or_else(|| "info".into());
    let filter = filter.to_str().ok_or_else(|| wrong("the value is not UTF-8".into()))?;
    let filter = EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal());
    log.with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| wrong(error.to_string()))
}

/// The end of one request.
#[derive(Debug)]
pub struct RequestEnd<'a> {
    /// The request's id, as in its answer.
    pub request_id: &'a str,
    /// The tenant, if the address names one.
    pub tenant: Option<&'a str>,
    /// What the request asked for.
    pub operation: Operation,
    /// Why it failed, if it did.
    pub problem: Option<&'a Problem>,
    /// The time from the request's head to its answer.
    pub took: Duration,
}

/// The level of the line about a request: an error is this host's own fault, a warning says that a handler or something
/// that the host depends on does not work, and the rest concerns only the caller.
fn level(problem: Option<ErrorKind>) -> Level {
    match problem {
        Some(ErrorKind::Internal) => Level::ERROR,
        // Callers that overload the host, or ask for a tenant whose fault was logged when it was loaded,
        // cannot fill the log with one line per request; the metrics count them.
        Some(ErrorKind::Overloaded | ErrorKind::TenantUnavailable) => Level::DEBUG,
        Some(kind) if kind.status().is_server_error() => Level::WARN,
        Some(_) | None => Level::DEBUG,
    }
}

/// Logs the end of a request, in one line.
pub fn log_end(end: &RequestEnd<'_>) {
    let kind = end.problem.map(Problem::kind);
    // The level of an event is fixed at compile time.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id = end.request_id,
                tenant = end.tenant,
                operation = end.operation.label(),
                code = code(kind),
                duration_ms = end.took.as_micros() as f64 / 1e3,
                error = end.problem.map(Problem::for_log),
                "request ended"
            )
        };
    }
    match level(kind) {
        Level::ERROR => line!(error),
        Level::WARN => line!(warn),
        _ => line!(debug),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_host_are_errors() {
        let errors: Vec<_> = ErrorKind::ALL
            .into_iter()
            .filter(|kind| level(Some(*kind)) == Level::ERROR)
            .collect();
        assert_eq!(errors, [ErrorKind::Internal]);
        assert_eq!(level(Some(ErrorKind::NameTaken)), Level::DEBUG);
        assert_eq!(level(Some(ErrorKind::LockUnavailable)), Level::WARN);
        assert_eq!(level(Some(ErrorKind::Overloaded)), Level::DEBUG);
        assert_eq!(level(None), Level::DEBUG);
    }

    #[test]
    fn an_invalid_filter_is_a_configuration_error() {
        let error = init(Some("namelock=loud".into())).unwrap_err().to_string();
        assert!(error.starts_with("NAMELOCK_LOG: "), "{error}");
    }
}
