//! Whether the peer of an HTTP/2 stream takes what its answer says.
//!
//! The kernel ends a connection whose peer takes nothing. But a peer can take all else and give one stream no window, and the
//! kernel sees nothing of that. An answer that is made while it is sent would then last as long as its connection, and keep what it
//! holds: a follower of a log its place.
//!
//! The library asks the body of an answer for more only when what it had was passed on within the stream's window. So a body that
//! has said something, and is not asked again, waits for its peer. A peer that takes a little now and then is asked again each time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

tokio::task_local! {
    /// That of the stream whose task runs.
    pub(super) static OF_THIS_STREAM: Arc<Taken>;
}

/// Whether the peer of one stream takes its answer.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Since when what was said is not passed on; none: there is nothing to pass on.
    waits_since: Mutex<Option<Instant>>,
    /// Told when an answer begins that is made while it is sent.
    begun: Notify,
}

impl Taken {
    /// That of the stream whose task runs; none: it is none of HTTP/2.
    pub(super) fn of_this_stream() -> Option<Arc<Self>> {
        OF_THIS_STREAM.try_with(Arc::clone).ok()
    }

    /// An answer begins that is made while it is sent.
    pub(super) fn begin(&self) {
        self.begun.notify_one();
    }

    /// The answer was asked for more, and has said something or not.
    pub(super) fn asked(&self, has_said: bool) {
        *self.waits_since.lock() = has_said.then(Instant::now);
    }

    /// Waits until the peer has taken nothing for so long of what was said; twice as long at most.
    pub(super) async fn not_for(&self, time: Duration) {
        self.begun.notified().await;
        loop {
            let since = *self.waits_since.lock();
            let rest = since.map_or(time, |since| time.saturating_sub(since.elapsed()));
            if rest.is_zero() {
                return;
            }
            sleep(rest).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_up_that_waits_for_its_peer_and_not_one_that_has_nothing_to_say() {
        let (taken, time) = (Taken::default(), Duration::from_secs(10));
        let is_given_up = async |within| tokio::time::timeout(within, taken.not_for(time)).await.is_ok();
        assert!(!is_given_up(time * 100).await, "none has begun");
        taken.begin();
        taken.asked(false);
        assert!(!is_given_up(time * 100).await, "it has nothing to say");
        for _ in 0..100 {
            taken.begin();
            taken.asked(true);
            assert!(
                !is_given_up(time * 9 / 10).await,
                "its peer takes a little now and then"
            );
        }
        taken.begin();
        assert!(is_given_up(time).await);
    }
}
