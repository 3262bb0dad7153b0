//! The filter of the log, which an operator can change while the host runs, for a while or until it stops.

use std::sync::Arc;
use std::time::Duration;

use namelock_types::milliseconds;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::{EnvFilter, Registry};

/// The target of the lines about what operators have done. They are logged whatever the filter says.
pub const OPERATOR: &str = "namelock::operator";

/// Longest filter, in bytes.
const FILTER_MAX: usize = 1024;

/// The longest time for which a filter can be set, before the one from before is back.
pub const FOR_MAX: Duration = Duration::from_hours(24);

/// The filter of the log. Clones share it.
#[derive(Clone, Debug)]
pub struct LogFilter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    at_start: Box<str>,
    state: Mutex<State>,
    /// Told whenever the state has changed.
    changed: Notify,
    handle: Handle<EnvFilter, Registry>,
}

#[derive(Debug)]
struct State {
    /// What was set without an end, or at the start.
    lasting: Box<str>,
    /// What was set for a while, and until when.
    passing: Option<(Box<str>, Instant)>,
}

/// The filter as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterNow {
    /// What is logged now.
    pub filter: String,
    /// What was when the host started.
    pub at_start: String,
    /// What will be, if the filter was set for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
    /// When that will be, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_in_ms: Option<u64>,
}

/// Why a filter cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is none.
    #[error("{0}; write a level, as in info, or several separated by commas, as in info,namelock=debug")]
    Invalid(String),
    /// It is too long.
    #[error("a filter has at most {FILTER_MAX} bytes; write a shorter one")]
    TooLong,
    /// It would be set for too long, or for no time at all.
    #[error("a filter is set for 1 ms to {} h; leave the time out to set it until the host stops", FOR_MAX.as_secs() / 3600)]
    Time,
    /// The log has no filter that can be changed.
    #[error("the filter of this log cannot be changed: {0}")]
    Fixed(String),
}

impl LogFilter {
    /// Makes the filter of a log that begins, and the layer that filters.
    ///
    /// # Errors
    ///
    /// The text is no filter.
    pub fn new(text: &str) -> Result<(Self, Layer<EnvFilter, Registry>), FilterError> {
        let (layer, handle) = Layer::new(parse(text)?);
        let inner = Inner {
            at_start: text.into(),
            state: Mutex::new(State {
                lasting: text.into(),
                passing: None,
            }),
            changed: Notify::new(),
            handle,
        };
        Ok((Self(Arc::new(inner)), layer))
    }

    /// What is logged now.
    pub fn now(&self) -> FilterNow {
        let state = self.0.state.lock();
        let (filter, passing) = match &state.passing {
            Some((filter, until)) => (filter, Some(*until)),
            None => (&state.lasting, None),
        };
        FilterNow {
            filter: filter.to_string(),
            at_start: self.0.at_start.to_string(),
            then: passing.map(|_| state.lasting.to_string()),
            ends_in_ms: passing.map(|until| milliseconds(until.saturating_duration_since(Instant::now()))),
        }
    }

    /// Logs by this filter from now on: for this time, or until the host stops.
    ///
    /// # Errors
    ///
    /// See [`FilterError`]; the filter is then what it was.
    pub fn set(&self, text: &str, time: Option<Duration>) -> Result<(), FilterError> {
        if time.is_some_and(|time| time.is_zero() || time > FOR_MAX) {
            return Err(FilterError::Time);
        }
        let filter = parse(text)?;
        let mut state = self.0.state.lock();
        self.reload(filter)?;
        match time {
            Some(time) => state.passing = Some((text.into(), Instant::now() + time)),
            None => (state.lasting, state.passing) = (text.into(), None),
        }
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Ends what was set for a while when its time is over; never ends itself. One task runs it.
    pub async fn keep(&self) {
        loop {
            let until = self.0.state.lock().passing.as_ref().map(|(_, until)| *until);
            match until {
                None => self.0.changed.notified().await,
                Some(until) => tokio::select! {
                    () = self.0.changed.notified() => {}
                    () = sleep_until(until) => self.end(),
                },
            }
        }
    }

    fn end(&self) {
        let mut state = self.0.state.lock();
        // Somebody may have set another one meanwhile.
        if state.passing.take_if(|(_, until)| *until <= Instant::now()).is_none() {
            return;
        }
        let back = parse(&state.lasting).and_then(|filter| self.reload(filter));
        let filter = state.lasting.to_string();
        drop(state);
        match back {
            Ok(()) => tracing::info!(target: OPERATOR, filter, "the filter of the log is as it was before"),
            Err(error) => tracing::error!(target: OPERATOR, filter, %error, "the filter of the log stays as it is"),
        }
    }

    fn reload(&self, filter: EnvFilter) -> Result<(), FilterError> {
        let reloaded = self.0.handle.reload(filter);
        reloaded.map_err(|error| FilterError::Fixed(error.to_string()))
    }
}

/// The library of HTTP/2 warns of what any peer can do, once for each connection; what it says at `error` is its own fault.
const OF_PEERS: &str = "h2";

/// Reads a filter, to which what operators do is added. What peers do with HTTP/2 is left out, unless the filter names it.
fn parse(text: &str) -> Result<EnvFilter, FilterError> {
    if text.len() > FILTER_MAX {
        return Err(FilterError::TooLong);
    }
    let invalid = |error: tracing_subscriber::filter::ParseError| FilterError::Invalid(error.to_string());
    let always = format!("{OPERATOR}=info").parse().map_err(invalid)?;
    let filter = EnvFilter::try_new(text).map_err(invalid)?.add_directive(always);
    if text.contains(OF_PEERS) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{OF_PEERS}=error").parse().map_err(invalid)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter, and the layer without which it cannot be set.
    fn filter() -> (LogFilter, Layer<EnvFilter, Registry>) {
        LogFilter::new("info").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_that_is_set_for_a_while_is_followed_by_the_one_before() {
        let (filter, _layer) = filter();
        filter.set("warn", None).unwrap();
        filter.set("debug", Some(Duration::from_secs(60))).unwrap();
        let expect = FilterNow {
            filter: "debug".into(),
            at_start: "info".into(),
            then: Some("warn".into()),
            ends_in_ms: Some(60_000),
        };
        assert_eq!(filter.now(), expect);
        let minute = tokio::time::timeout(Duration::from_secs(61), filter.keep()).await;
        assert!(minute.is_err(), "it is kept for ever");
        let expect = FilterNow {
            filter: "warn".into(),
            at_start: "info".into(),
            then: None,
            ends_in_ms: None,
        };
        assert_eq!(filter.now(), expect);
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_that_is_set_meanwhile_has_its_own_time() {
        let (filter, _layer) = filter();
        let keep = tokio::spawn({
            let filter = filter.clone();
            async move { filter.keep().await }
        });
        filter.set("debug", Some(Duration::from_secs(10))).unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        filter.set("trace", Some(Duration::from_secs(10))).unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(filter.now().filter, "trace");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(filter.now().filter, "info");
        keep.abort();
    }

    #[test]
    fn what_is_no_filter_changes_nothing() {
        let (filter, layer) = filter();
        let check = |text: &str, time: Option<Duration>, expect: &str| {
            let error = filter.set(text, time).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("namelock=loud", None, "write a level, as in info");
        check(&"x".repeat(FILTER_MAX + 1), None, "at most 1024 bytes");
        check("info", Some(Duration::ZERO), "is set for 1 ms to 24 h");
        check(
            "info",
            Some(FOR_MAX + Duration::from_millis(1)),
            "is set for 1 ms to 24 h",
        );
        assert_eq!(filter.now().filter, "info");
        drop(layer);
        check("debug", None, "cannot be changed");
        assert_eq!(filter.now().filter, "info");
    }
}
