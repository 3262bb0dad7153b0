//! The tasks of the streams of HTTP/2 connections.
//!
//! A stream has a task of its own, so that a handler that runs on one of them keeps those beside it from nothing: a proxy sends
//! the requests of many tenants over one connection. Such a task must not outlive its connection, or its lease would: it is
//! ended with it.

use std::future::Future;

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// Those of all connections.
    tasks: TaskTracker,
    /// Cancelled once the connection has ended.
    ended: CancellationToken,
}

impl Streams {
    /// Those of a connection that ends with `ended`.
    pub(super) fn new(tasks: TaskTracker, ended: CancellationToken) -> Self {
        Self { tasks, ended }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            ended.run_until_cancelled(stream).await;
        });
    }
}
