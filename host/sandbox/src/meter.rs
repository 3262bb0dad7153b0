//! How long a call has really run.
//!
//! A call runs while its future is being polled; while it waits for a lock or the database it is not. wasmtime's epoch cannot tell
//! the two apart, it only says when to look. So the future is wrapped, and adds up the time of its polls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The running time of one call. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    begin: Instant,
    /// Nanoseconds of the polls that have ended.
    ended: AtomicU64,
    /// When the poll that goes on began, in nanoseconds since `begin`.
    since: AtomicU64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                begin: Instant::now(),
                ended: AtomicU64::new(0),
                since: AtomicU64::new(0),
            }),
        }
    }

    /// The running time up to now. Called from within the metered future.
    pub(crate) fn running(&self) -> Duration {
        let poll = self.now().saturating_sub(self.inner.since.load(Ordering::Relaxed));
        Duration::from_nanos(self.inner.ended.load(Ordering::Relaxed) + poll)
    }

    /// Meters every poll of `future`.
    pub(crate) fn wrap<F: Future>(&self, future: F) -> Metered<F> {
        Metered {
            meter: self.clone(),
            future: Box::pin(future),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.inner.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A future whose polls are metered.
pub(crate) struct Metered<F> {
    meter: Meter,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let since = self.meter.now();
        self.meter.inner.since.store(since, Ordering::Relaxed);
        let poll = self.future.as_mut().poll(context);
        let ran = self.meter.now().saturating_sub(since);
        self.meter.inner.ended.fetch_add(ran, Ordering::Relaxed);
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_does_not_count_and_running_does() {
        let meter = Meter::new();
        meter.wrap(tokio::time::sleep(Duration::from_millis(50))).await;
        let waited = Duration::from_nanos(meter.inner.ended.load(Ordering::Relaxed));
        assert!(waited < Duration::from_millis(25), "{waited:?}");

        let inside = meter.clone();
        let ran = meter.wrap(async move {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(50) {}
            inside.running()
        });
        assert!(ran.await >= Duration::from_millis(50));
        assert!(Duration::from_nanos(meter.inner.ended.load(Ordering::Relaxed)) >= Duration::from_millis(50));
    }
}
