//! The log, on standard error: who writes it (`writer`), which lines it has (`filter`), what it says of a
//! request, and how often of what others can cause at will (`told`).
//!
//! Whatever comes from outside is escaped and cut, so no line of the log can be forged, and no line is long. A line
//! that a request of a tenant causes is charged to the tenant's account.

mod filter;
mod told;
mod writer;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use namelock_account::Account;
use namelock_sandbox::phases::Times;
use namelock_sandbox::{Phase, TraceId};
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Layer;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

pub use self::filter::{FOR_MAX, FilterError, FilterNow, LogFilter, OPERATOR};
pub use self::told::Told;
pub use self::writer::{LogThread, LogWriter};

use crate::config::source::ConfigError;
use crate::error::{ErrorKind, Outcome};
use crate::metrics::Operation;
use crate::text::quoted;

/// Longest error in the line about a request, in bytes.
const ERROR_MAX: usize = 4096;

/// Everything in the line about a request but its error and its ids: the time, level and target, the names of the
/// fields, and fields that are short.
const LINE_REST: usize = 192;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For people.
    Text,
    /// One object in JSON, with the fields of the event beside time, level and target.
    Json,
}

/// The log of a host: who writes it, and what is written. Clones share both.
#[derive(Clone, Debug)]
pub struct Log {
    /// Writes its lines.
    pub writer: LogWriter,
    /// Says which lines it has.
    pub filter: LogFilter,
}

/// Sends the log to `writer`; `filter` is the value of `NAMELOCK_LOG`, and `format` that of `NAMELOCK_LOG_FORMAT`.
pub fn init(filter: Option<OsString>, format: Option<OsString>, writer: LogWriter) -> Result<Log, ConfigError> {
    let format = read_format(format)?;
    let (filter, filters) = read_filter(filter)?;
    let lines = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer.clone());
    let log = tracing_subscriber::registry().with(filters);
    let begun = match format {
        Format::Text => log.with(lines).try_init(),
        Format::Json => log.with(lines.json().flatten_event(true)).try_init(),
    };
    begun.map_err(|error| wrong(error.to_string()))?;
    // The hook of the standard library would write on the thread that panics, and wait where nobody reads.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(panic = %quoted(&panic.to_string(), ERROR_MAX), "a thread panicked");
    }));
    Ok(Log { writer, filter })
}

fn read_filter(filter: Option<OsString>) -> Result<(LogFilter, Layer<EnvFilter, Registry>), ConfigError> {
    let filter = filter.unwrap_or_else(|| "info".into());
    let filter = filter
        .to_str()
        .ok_or_else(|| wrong("the value is not UTF-8; write it in UTF-8".into()))?;
    LogFilter::new(filter).map_err(|error| wrong(error.to_string()))
}

fn read_format(format: Option<OsString>) -> Result<Format, ConfigError> {
    match format.as_ref().map(|format| format.to_str()) {
        None | Some(Some("text")) => Ok(Format::Text),
        Some(Some("json")) => Ok(Format::Json),
        Some(_) => Err(ConfigError::new(
            "NAMELOCK_LOG_FORMAT",
            "a log is written as text or json",
        )),
    }
}

fn wrong(problem: String) -> ConfigError {
    ConfigError::new("NAMELOCK_LOG", problem)
}

/// The end of one request.
#[derive(Debug)]
pub struct RequestEnd<'a> {
    /// The request's id, as in its answer.
    pub request_id: &'a str,
    /// The trace that it belongs to, if its caller or this host traces it.
    pub trace_id: Option<TraceId>,
    /// The tenant, if the address names one.
    pub tenant: Option<&'a str>,
    /// What the request asked for.
    pub operation: Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// The SHA-256 of the component that ran, if one did.
    pub component: Option<&'a str>,
    /// What the log is to know of its failure, if it failed.
    pub error: Option<&'a str>,
    /// What each of its phases took; together, the time from its head to its answer.
    pub phases: &'a Times,
}

/// The level of the line about a request: an error is this host's own fault, a warning says that a handler or something
/// that the host depends on does not work, and the rest concerns only the caller.
fn level(outcome: Outcome) -> Level {
    match outcome {
        Outcome::Failed(ErrorKind::Internal) => Level::ERROR,
        // Callers that overload the host, or ask for a tenant whose fault was logged when it was loaded,
        // cannot fill the log with one line per request; the metrics count them.
        Outcome::Failed(ErrorKind::Overloaded | ErrorKind::TenantUnavailable) => Level::DEBUG,
        Outcome::Failed(kind) if kind.status().is_server_error() => Level::WARN,
        Outcome::Failed(_) | Outcome::Ok | Outcome::ClientGone => Level::DEBUG,
    }
}

/// Logs the end of a request, in one line; a warning or an error is charged to `account`, and left out when its budget
/// is used up.
// Keeps P6: what the requests of one tenant write to the log is bounded by its own budget.
pub fn log_end(end: &RequestEnd<'_>, account: Option<&Account>) {
    // The level of an event is fixed at compile time.
    macro_rules! line {
        ($level:ident, $Level:ident, $account:expr) => {
            if tracing::enabled!(Level::$Level) {
                let error = end.error.map(|error| quoted(error, ERROR_MAX));
                let trace_id = end.trace_id.map_or(0, |_| " trace_id=".len() + TraceId::DIGITS);
                let component = end.component.map_or(0, |digest| " component=".len() + digest.len());
                let ids = end.request_id.len() + trace_id + component + end.tenant.map_or(0, str::len);
                let phases = phases_ms(end.phases);
                let bytes = LINE_REST + ids + phases.len() + error.as_ref().map_or(0, String::len);
                if $account.is_none_or(|account: &Account| account.log(bytes)) {
                    tracing::$level!(
                        request_id = end.request_id,
                        trace_id = end.trace_id.map(tracing::field::display),
                        tenant = end.tenant,
                        operation = end.operation.label(),
                        code = end.outcome.label(),
                        component = end.component,
                        duration_ms = end.phases.iter().sum::<Duration>().as_micros() as f64 / 1e3,
                        phases_ms = %phases,
                        error = error.map(tracing::field::display),
                        "request ended"
                    );
                }
            }
        };
    }
    match level(end.outcome) {
        Level::ERROR => line!(error, ERROR, account),
        Level::WARN => line!(warn, WARN, account),
        // Only an operator who looks for something asks for these, and then for all of them.
        _ => line!(debug, DEBUG, None),
    }
}

/// The phases that took any time, as `queue=0.041 guest=0.210`.
fn phases_ms(times: &Times) -> String {
    let took = Phase::ALL.into_iter().zip(times).filter(|(_, time)| !time.is_zero());
    let texts: Vec<_> = took
        .map(|(phase, time)| format!("{}={:.3}", phase.label(), time.as_secs_f64() * 1e3))
        .collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use namelock_account::{Budgets, Counter};
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn a_log_is_written_as_text_or_json() {
        let read = |format: Option<&str>| read_format(format.map(OsString::from)).map_err(|error| error.to_string());
        assert_eq!(read(None), Ok(Format::Text));
        assert_eq!(read(Some("text")), Ok(Format::Text));
        assert_eq!(read(Some("json")), Ok(Format::Json));
        let expect = "NAMELOCK_LOG_FORMAT: a log is written as text or json";
        assert_eq!(read(Some("xml")), Err(expect.to_owned()));
    }

    #[test]
    fn only_faults_of_the_host_are_errors() {
        let of = |kind| level(Outcome::Failed(kind));
        let errors: Vec<_> = ErrorKind::ALL
            .into_iter()
            .filter(|kind| of(*kind) == Level::ERROR)
            .collect();
        assert_eq!(errors, [ErrorKind::Internal]);
        assert_eq!(of(ErrorKind::NameTaken), Level::DEBUG);
        assert_eq!(of(ErrorKind::LockUnavailable), Level::WARN);
        assert_eq!(of(ErrorKind::Overloaded), Level::DEBUG);
        assert_eq!(of(ErrorKind::TenantLimit), Level::DEBUG);
        assert_eq!(level(Outcome::Ok), Level::DEBUG);
        assert_eq!(level(Outcome::ClientGone), Level::DEBUG);
    }

    #[test]
    fn an_invalid_filter_is_a_configuration_error() {
        let error = read_filter(Some("namelock=loud".into())).unwrap_err().to_string();
        assert!(error.starts_with("NAMELOCK_LOG: "), "{error}");
    }

    /// What is logged meanwhile at the level `info`.
    fn logged(during: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false);
        let log = log.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, during);
        let text = lines.0.lock().clone();
        String::from_utf8(text).unwrap()
    }

    /// Longer than any request takes, so with as many digits as there may be.
    static LONG: Times = [Duration::from_secs(10_000); Phase::ALL.len()];

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn trapped<'a>(request_id: &'a str, tenant: &'a str, error: &'a str) -> RequestEnd<'a> {
        RequestEnd {
            request_id,
            trace_id: Some(TraceId([0xab; 16])),
            tenant: Some(tenant),
            operation: Operation::Register,
            outcome: Outcome::Failed(ErrorKind::HandlerTrapped),
            component: Some(DIGEST),
            error: Some(error),
            phases: &LONG,
        }
    }

    // Shows P6: a tenant that fails all the time fills its own budget, and what is charged is at least what is written.
    #[test]
    fn a_tenant_pays_for_the_lines_about_its_failures() {
        let account = Account::new(
            "t",
            &Budgets {
                log_rate: 64,
                ..Budgets::default()
            },
        );
        let text = logged(|| {
            for _ in 0..100 {
                log_end(&trapped("r", "t", "wasm trap"), Some(&account));
            }
        });
        assert!((1..=3).contains(&text.lines().count()), "{text}");
        assert_eq!(
            account.used(Counter::LogLinesDropped),
            100 - text.lines().count() as u64
        );
        let (id, tenant, long) = ("i".repeat(64), "t".repeat(63), "\u{1}x".repeat(3000));
        let account = Account::new("t", &Budgets::default());
        let text = logged(|| log_end(&trapped(&id, &tenant, &long), Some(&account)));
        assert!(
            text.len() as u64 <= account.used(Counter::LogBytes),
            "{}: {text}",
            text.len()
        );
        assert!(text.contains(&format!(" trace_id={} ", "ab".repeat(16))), "{text}");
        assert!(
            text.len() < ERROR_MAX + LINE_REST + 127 + 42 + 75 + phases_ms(&LONG).len(),
            "{}",
            text.len()
        );
    }

    #[test]
    fn no_error_forges_a_line() {
        let error = "bad\n2026-01-01T00:00:00Z ERROR namelock: forged \u{1b}[31m \u{202e} \"";
        let text = logged(|| log_end(&trapped("r", "t", error), None));
        assert_eq!(text.lines().count(), 1, "{text}");
        let escaped = r#"error="bad\n2026-01-01T00:00:00Z ERROR namelock: forged \u{1b}[31m \u{202e} \"""#;
        assert!(text.contains(escaped), "{text}");
    }
}
