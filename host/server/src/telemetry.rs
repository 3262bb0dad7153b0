//! The log: what an operator reads, on standard error.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::error::{ErrorKind, Problem};
use crate::metrics::{Operation, code};
use crate::source::ConfigError;

/// Starts the log; `filter` is the value of `NAMELOCK_LOG`.
pub fn init(filter: Option<OsString>) -> Result<(), ConfigError> {
    let wrong = |problem: String| {
        ConfigError::new(
            "NAMELOCK_LOG",
            format!(
                "{problem}; write a level, as in info, or target=level with commas between, as in info,namelock=debug"
            ),
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

/// How one request ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The request's id, as it was answered.
    pub request_id: &'a str,
    /// The tenant, where the address names one.
    pub tenant: Option<&'a str>,
    /// What was asked for.
    pub operation: Operation,
    /// Why it was not done.
    pub problem: Option<&'a Problem>,
    /// From the request's head to its answer.
    pub took: Duration,
}

/// How loud a request's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loudness {
    /// The caller's business.
    Debug,
    /// Something that this host depends on, or a handler, does not work.
    Warn,
    /// This host is at fault.
    Error,
}

fn loudness(problem: Option<ErrorKind>) -> Loudness {
    match problem {
        Some(ErrorKind::Internal) => Loudness::Error,
        // Whoever sends more than is served, or asks a tenant whose fault was logged when it was loaded, must not fill the log
        // with a line a request; the metrics count them.
        Some(ErrorKind::Overloaded | ErrorKind::TenantUnavailable) => Loudness::Debug,
        Some(kind) if kind.status().is_server_error() => Loudness::Warn,
        Some(_) | None => Loudness::Debug,
    }
}

/// Writes the one line that a request leaves in the log.
pub fn log_end(ended: &Ended<'_>) {
    let kind = ended.problem.map(Problem::kind);
    // The level of an event must be known when it is compiled.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                request_id = ended.request_id,
                tenant = ended.tenant,
                operation = ended.operation.label(),
                code = code(kind),
                duration_ms = ended.took.as_micros() as f64 / 1e3,
                error = ended.problem.map(Problem::for_log),
                "request ended"
            )
        };
    }
    match loudness(kind) {
        Loudness::Debug => line!(debug),
        Loudness::Warn => line!(warn),
        Loudness::Error => line!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_faults_are_errors() {
        let loud: Vec<_> = ErrorKind::ALL
            .into_iter()
            .filter(|kind| loudness(Some(*kind)) == Loudness::Error)
            .collect();
        assert_eq!(loud, [ErrorKind::Internal]);
        assert_eq!(loudness(Some(ErrorKind::NameTaken)), Loudness::Debug);
        assert_eq!(loudness(Some(ErrorKind::LockUnavailable)), Loudness::Warn);
        assert_eq!(loudness(Some(ErrorKind::Overloaded)), Loudness::Debug);
        assert_eq!(loudness(None), Loudness::Debug);
    }

    #[test]
    fn a_wrong_filter_is_a_configuration_error() {
        let error = init(Some("namelock=loud".into())).unwrap_err().to_string();
        assert!(error.starts_with("NAMELOCK_LOG: "), "{error}");
    }
}
