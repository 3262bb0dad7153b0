//! The tasks of the streams of HTTP/2 connections.
//!
//! A stream has a task of its own, so that a handler that runs on one of them keeps those beside it from nothing: a proxy sends
//! the requests of many tenants over one connection. Such a task must not outlive its connection, or its lease would: it is
//! ended with it. Nor does it go on for a peer that does not take its answer ([`Taken`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::taken::{OF_THIS_STREAM, Taken};

/// Runs the streams of one connection.
// Keeps P6: a stream ends with its connection, and whatever it holds is given back; before that, if its peer does not take its answer.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// Those of all connections.
    tasks: TaskTracker,
    /// Cancelled once the connection has ended.
    ended: CancellationToken,
    /// How long a peer may take to accept more of an answer that is made while it is sent.
    write_timeout: Duration,
}

impl Streams {
    /// Those of a connection that ends with `ended`.
    pub(super) fn new(tasks: TaskTracker, ended: CancellationToken, write_timeout: Duration) -> Self {
        Self {
            tasks,
            ended,
            write_timeout,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (ended, write_timeout) = (self.ended.clone(), self.write_timeout);
        let taken = Arc::<Taken>::default();
        let stream = OF_THIS_STREAM.scope(Arc::clone(&taken), stream);
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = stream => {}
                // What is dropped here is reset.
                () = taken.not_for(write_timeout) => tracing::debug!("a stream is reset: its peer does not take the answer"),
            }
        });
    }
}
