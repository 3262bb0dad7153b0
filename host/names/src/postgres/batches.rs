//! Requests of one tenant that go to the server together.
//!
//! What a statement costs the server depends little on how many names it is about: most of it is a message, a snapshot, a count
//! of what the tenant keeps, and for a write a place in the log on the disk. So of one tenant only [`UNDER_WAY`] batches of a
//! kind are under way at once. What is asked meanwhile waits until one of them is answered, and goes together. And before a batch
//! is sent, all tasks that are ready run, so that on a busy host what they ask for is in it. Nothing waits for others to come:
//! who is alone is a batch of one, at once.
//!
//! A batch has requests of one tenant, so it takes one turn among the others, and what is wrong with a request meets nobody
//! else. Who gives up while it waits is not sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::fair::Fair;

/// How many batches of a tenant are under way at once: while the server flushes what the one has written, it works on the other.
const UNDER_WAY: usize = 2;

/// Sends batches.
pub(super) trait Sends: Send + Sync + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// Returns what no two requests of a batch may have in common.
    fn key(request: &Self::Request) -> Option<&str>;

    /// Sends requests of a tenant, and returns the answer to each, in their order.
    fn send(&self, tenant: &str, requests: Vec<Self::Request>) -> impl Future<Output = Vec<Self::Answer>> + Send;
}

/// The batches of all tenants.
pub(super) struct Batches<S: Sends>(Arc<Inner<S>>);

struct Inner<S: Sends> {
    sender: S,
    /// How many requests a batch has at most.
    most: usize,
    state: Mutex<State<S>>,
}

struct State<S: Sends> {
    waiting: Fair<Waiting<S>>,
    /// How many batches each tenant has under way.
    under_way: HashMap<String, usize>,
}

struct Waiting<S: Sends> {
    request: S::Request,
    caller: oneshot::Sender<S::Answer>,
}

/// Requests that go together, and who asked for each.
struct Batch<S: Sends> {
    requests: Vec<S::Request>,
    callers: Vec<oneshot::Sender<S::Answer>>,
}

/// As many of the tenant wait as may (`names.queue`).
#[derive(Debug, thiserror::Error)]
#[error("too many reads and writes are queued (names.queue)")]
pub(super) struct Full;

/// One more batch of a tenant, until it has ended.
struct UnderWay<S: Sends> {
    inner: Arc<Inner<S>>,
    tenant: String,
    has_ended: bool,
}

impl<S: Sends> Batches<S> {
    /// At most `queue` requests wait, and `most` of them go together.
    pub(super) fn new(sender: S, queue: usize, most: usize) -> Self {
        Self(Arc::new(Inner {
            sender,
            most,
            state: Mutex::new(State {
                waiting: Fair::new(queue),
                under_way: HashMap::new(),
            }),
        }))
    }

    /// Sends a request with others of its tenant. None: it was given up with its batch.
    // Keeps P7: one that the queue has no room for does not wait.
    pub(super) async fn ask(&self, tenant: &str, request: S::Request) -> Result<Option<S::Answer>, Full> {
        let (caller, answer) = oneshot::channel();
        let begins = {
            let mut state = self.0.state.lock();
            let waiting = Waiting { request, caller };
            state.waiting.push(tenant, waiting).map_err(|_| Full)?;
            state.begin(tenant)
        };
        if begins {
            let under_way = UnderWay {
                inner: Arc::clone(&self.0),
                tenant: tenant.to_owned(),
                has_ended: false,
            };
            // Nobody joins it: what it sends has a deadline, and its callers need it no longer than that. It must not end with
            // the caller that began it, who has no part in what the others asked.
            tokio::spawn(under_way.run());
        }
        Ok(answer.await.ok())
    }

    /// Sends a request by itself.
    pub(super) async fn ask_alone(&self, tenant: &str, request: S::Request) -> Option<S::Answer> {
        self.0.sender.send(tenant, vec![request]).await.pop()
    }
}

impl<S: Sends> State<S> {
    /// Counts one batch more of a tenant, if it may have one.
    fn begin(&mut self, tenant: &str) -> bool {
        if let Some(under_way) = self.under_way.get_mut(tenant) {
            let begins = *under_way < UNDER_WAY;
            *under_way += usize::from(begins);
            return begins;
        }
        self.under_way.insert(tenant.to_owned(), 1);
        true
    }

    /// Counts one batch less of a tenant.
    fn end(&mut self, tenant: &str) {
        if let Some(under_way) = self.under_way.get_mut(tenant) {
            *under_way -= 1;
            if *under_way == 0 {
                self.under_way.remove(tenant);
            }
        }
    }

    /// Takes the next batch of a tenant. Where nothing waits, the tenant has one batch less under way: that is one step, because
    /// whoever asks after it has to begin one.
    fn next(&mut self, tenant: &str, most: usize) -> Option<Batch<S>> {
        let mut batch = Batch {
            requests: Vec::new(),
            callers: Vec::new(),
        };
        let mut keys = HashSet::new();
        while batch.requests.len() < most {
            let fits = |waiting: &Waiting<S>| {
                waiting.caller.is_closed() || S::key(&waiting.request).is_none_or(|key| !keys.contains(key))
            };
            let Some(Waiting { request, caller }) = self.waiting.remove(tenant, fits) else {
                break;
            };
            if !caller.is_closed() {
                keys.extend(S::key(&request).map(str::to_owned));
                batch.requests.push(request);
                batch.callers.push(caller);
            }
        }
        if batch.requests.is_empty() {
            self.end(tenant);
            return None;
        }
        Some(batch)
    }
}

impl<S: Sends> UnderWay<S> {
    /// Sends batches until none waits.
    async fn run(mut self) {
        loop {
            tokio::task::yield_now().await;
            let next = self.inner.state.lock().next(&self.tenant, self.inner.most);
            let Some(batch) = next else {
                self.has_ended = true;
                return;
            };
            let answers = self.inner.sender.send(&self.tenant, batch.requests).await;
            for (caller, answer) in batch.callers.into_iter().zip(answers) {
                // It may have given up just now.
                let _ = caller.send(answer);
            }
        }
    }
}

impl<S: Sends> Drop for UnderWay<S> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.inner.state.lock().end(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
