//! A lane: one memcached connection with the queue of lock operations that it sends in batches.
//!
//! One task owns the connection. While a batch is on its way the queue fills, and what has queued is the next batch. So
//! under load one system call carries hundreds of operations. Before a batch is sent all tasks that are ready run, so that what
//! they ask for is in it; a lone operation waits for no other.
//!
//! While nobody wants a lock, the lane asks for the sentinels from time to time, so that it sees a server that has
//! forgotten its locks or stands still (see [`super::health`]). It asks for all of them as often while locks are wanted.
//!
//! The task is in one of two states. *Disconnected*: it tries to connect, with jittered backoff, and refuses whatever
//! comes, at once, after the first attempt, during which requests wait. *Connected*: it exchanges batches until one
//! fails, or until the server closes the connection. (When only what holds for the fleet has changed, it connects anew
//! at once, and requests wait for that.) The callers of what was sent and not answered are then told so; it
//! is never sent again.
//!
//! Keeps P6: the queue has a limit.
//! Keeps P7: what cannot be sent now is refused at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::codec::Command;
use super::connection::{Connection, Ended, Exchanged, Watch};
use super::error::ConnectError;
use super::health::Health;
use super::membership::Fleet;
use super::request::{Answer, LaneError, Request};
use super::wire::CommandError;
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::figures::{LaneCounts, ServerFigures};
use crate::grant::ConnectionId;
use crate::key::LockKey;
use namelock_types::{Safety, is_removed};

/// Why a connection ended that the server closed.
const CLOSED: &str = "the server closed the connection";

/// Why a connection ended whose epoch is over, as another lane has found out.
const OVER: &str = "memcached has lost its locks, or its sentinel was made again";

/// The way to a lane's task. The task ends when the lane is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    server: Arc<str>,
    queue: mpsc::Sender<Request>,
    state: Arc<Mutex<LaneState>>,
    /// Whether there was ever a connection.
    was_connected: Arc<AtomicBool>,
    counts: Arc<LaneCounts>,
}

/// What a lane reports of itself.
#[derive(Debug)]
enum LaneState {
    Connected(ConnectionId),
    /// It has no connection, for this reason.
    Disconnected(String),
}

/// The task that owns a lane's connection.
struct LaneTask {
    server: Arc<str>,
    config: Arc<LockConfig>,
    health: Arc<Health>,
    epochs: Arc<dyn EpochSource>,
    fleet: Arc<Fleet>,
    queue: mpsc::Receiver<Request>,
    state: Arc<Mutex<LaneState>>,
    was_connected: Arc<AtomicBool>,
    counts: Arc<LaneCounts>,
    pause: Duration,
    /// Whether the first attempt to connect was made.
    tried: bool,
    /// When all sentinels were looked at last.
    watched: Instant,
}

impl Lane {
    pub(super) fn spawn(
        server: &str,
        config: &Arc<LockConfig>,
        health: &Arc<Health>,
        epochs: &Arc<dyn EpochSource>,
        fleet: &Arc<Fleet>,
    ) -> Self {
        let server: Arc<str> = server.into();
        let (sender, queue) = mpsc::channel(config.queue);
        let state = LaneState::Disconnected("it has not been reached yet".to_owned());
        let (state, was_connected) = (Arc::new(Mutex::new(state)), Arc::<AtomicBool>::default());
        let counts = Arc::<LaneCounts>::default();
        let task = LaneTask {
            server: Arc::clone(&server),
            config: Arc::clone(config),
            health: Arc::clone(health),
            epochs: Arc::clone(epochs),
            fleet: Arc::clone(fleet),
            queue,
            state: Arc::clone(&state),
            was_connected: Arc::clone(&was_connected),
            counts: Arc::clone(&counts),
            pause: config.backoff_min,
            tried: false,
            watched: Instant::now(),
        };
        tokio::spawn(task.run());
        Self {
            server,
            queue: sender,
            state,
            was_connected,
            counts,
        }
    }

    /// Adds what it has counted to the figures of its server.
    pub(super) fn add_to(&self, server: &mut ServerFigures) {
        self.counts.add_to(server);
        server.queued += self.queue.max_capacity() - self.queue.capacity();
    }

    /// Sends one command and waits for its reply. When the future is dropped before the command is sent, it is not
    /// sent.
    pub(super) async fn call(
        &self,
        key: &LockKey,
        command: Command,
        connection: Option<ConnectionId>,
    ) -> Result<Answer, LaneError> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            key: key.clone(),
            command,
            connection,
            reply,
        };
        self.queue.try_send(request).map_err(|error| {
            let server = &self.server;
            LaneError::NotSent(match error {
                TrySendError::Full(_) => format!("the queue to memcached at {server} is full; raise lock.queue"),
                TrySendError::Closed(_) => format!("the lane to memcached at {server} has ended; restart the host"),
            })
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(LaneError::Unanswered("the lane has stopped".into())))
    }

    /// Tells whether the lane is connected, and otherwise why not.
    pub(super) fn ready(&self) -> Result<(), String> {
        match &*self.state.lock() {
            LaneState::Connected(_) => Ok(()),
            LaneState::Disconnected(reason) => Err(format!("memcached at {}: {reason}", self.server)),
        }
    }

    /// Whether there was ever a connection.
    pub(super) fn was_connected(&self) -> bool {
        self.was_connected.load(Ordering::Relaxed)
    }

    /// The connection that the lane has now.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match &*self.state.lock() {
            LaneState::Connected(connection) => Some(*connection),
            LaneState::Disconnected(_) => None,
        }
    }
}

impl LaneTask {
    async fn run(mut self) {
        while !self.queue.is_closed() || !self.queue.is_empty() {
            let (what, reason) = match self.connect().await {
                Ok(connection) => {
                    tracing::info!(
                        server = &*self.server,
                        connection = connection.id.get(),
                        "connected to memcached"
                    );
                    self.was_connected.store(true, Ordering::Relaxed);
                    self.counts.connections.fetch_add(1, Ordering::Relaxed);
                    self.report(LaneState::Connected(connection.id));
                    self.pause = self.config.backoff_min;
                    self.health.said.forget();
                    match self.exchange_batches(connection).await {
                        Some(Ended::Broken(reason)) => ("the connection to memcached was given up", reason),
                        Some(Ended::FleetChanged) => {
                            // The server is there, so requests wait while that is learned.
                            self.tried = false;
                            continue;
                        }
                        None => return,
                    }
                }
                Err(error) if error.is_unreached() => ("cannot reach memcached", error.to_string()),
                Err(error) => ("memcached cannot be used", error.to_string()),
            };
            self.say(what, &reason);
            self.report(LaneState::Disconnected(reason.clone()));
            let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
            self.pause = (self.pause * 2).min(self.config.backoff_max);
            self.refuse_during(tokio::time::sleep(pause), &reason).await;
        }
    }

    /// Logs why there is no connection, once for each reason until there is one to this server.
    fn say(&self, what: &str, reason: &str) {
        if self.health.said.is_new(reason) {
            tracing::warn!(
                server = &*self.server,
                reason,
                "{what}; its locks are refused until it can be used"
            );
        } else {
            tracing::debug!(server = &*self.server, reason, "{what}");
        }
    }

    /// Tries to connect. Requests that come meanwhile wait for the first attempt, and are refused during every other.
    async fn connect(&mut self) -> Result<Connection, ConnectError> {
        let (server, config, health, epochs, fleet) = (
            Arc::clone(&self.server),
            Arc::clone(&self.config),
            Arc::clone(&self.health),
            Arc::clone(&self.epochs),
            Arc::clone(&self.fleet),
        );
        let attempt = async move {
            let connection = Connection::open(&server, &config, &epochs, &health, &fleet).await;
            fleet.record_asked(&server);
            health.record_source(match &connection {
                Err(ConnectError::Epochs(reason)) => Some(reason),
                _ => None,
            });
            connection
        };
        let before = match &*self.state.lock() {
            LaneState::Disconnected(reason) if self.tried => Some(reason.clone()),
            _ => None,
        };
        self.tried = true;
        match before {
            Some(reason) => self.refuse_during(attempt, &reason).await,
            None => attempt.await,
        }
    }

    /// Exchanges batches until the connection breaks, and returns why it did; none when there is no caller left.
    async fn exchange_batches(&mut self, mut connection: Connection) -> Option<Ended> {
        let mut batch = Vec::with_capacity(self.config.batch);
        loop {
            batch.clear();
            tokio::select! {
                biased;
                received = self.queue.recv_many(&mut batch, self.config.batch) => {
                    if received == 0 {
                        return None;
                    }
                    self.gather(&mut batch).await;
                }
                () = connection.broken() => return Some(Ended::Broken(CLOSED.into())),
                // An empty batch asks for the sentinels alone.
                () = tokio::time::sleep(self.config.heartbeat()) => {}
            }
            let unusable = if connection.is_broken() {
                Some(CLOSED)
            } else if !self.health.is_in(connection.epoch) {
                Some(OVER)
            } else {
                None
            };
            if let Some(reason) = unusable {
                // Found out before sending, so that nothing is in doubt.
                for request in batch {
                    request.answer(Err(LaneError::NotSent(reason.into())));
                }
                return Some(Ended::Broken(reason.into()));
            }
            if let Err(ended) = self.exchange(&mut connection, &mut batch).await {
                return Some(ended);
            }
        }
    }

    /// Lets all that are ready to run do so, and takes what they ask for too: an exchange costs the server and this host much the
    /// same however many requests are in it. Who is alone does not wait: then nobody else is ready.
    async fn gather(&mut self, batch: &mut Vec<Request>) {
        tokio::task::yield_now().await;
        while batch.len() < self.config.batch
            && let Ok(request) = self.queue.try_recv()
        {
            batch.push(request);
        }
    }

    /// Sends a batch and answers its callers.
    async fn exchange(&mut self, connection: &mut Connection, batch: &mut Vec<Request>) -> Result<(), Ended> {
        let (id, epoch, phase) = (connection.id, connection.epoch, connection.phase);
        let sent: Vec<Request> = batch
            .drain(..)
            .filter_map(|request| {
                if request.reply.is_closed() {
                    // Its caller is gone, and nothing was sent.
                    return None;
                }
                let is_at_home = request.connection.is_none_or(|wanted| wanted == id);
                if !is_at_home && !is_removed(Safety::CasAtHome) {
                    request.answer(Err(LaneError::OtherConnection));
                    return None;
                }
                Some(request)
            })
            .collect();
        let commands: Vec<_> = sent
            .iter()
            .map(|request| (request.key.as_str(), request.command))
            .collect();
        let began = Instant::now();
        let watch = if commands.is_empty() || began - self.watched >= self.config.heartbeat() {
            self.watched = began;
            Watch::All
        } else {
            Watch::Own
        };
        let deadline = began + self.config.exchange_timeout;
        let Exchanged { outcomes, dating, end } = connection.exchange(&commands, deadline, watch, &self.health).await;
        if !sent.is_empty() {
            self.counts.exchanged(sent.len(), began.elapsed());
        }
        for (request, outcome) in sent.into_iter().zip(outcomes) {
            let result = match outcome {
                Ok(reply) => Ok(Answer {
                    reply,
                    connection: id,
                    epoch,
                    phase,
                    dating,
                }),
                Err(CommandError::OutOfMemory) => {
                    self.health.counts.out_of_memory();
                    Err(LaneError::OutOfMemory)
                }
                Err(CommandError::Unanswered(reason)) => Err(LaneError::Unanswered(reason)),
            };
            request.answer(result);
        }
        end
    }

    /// Refuses whatever comes while `work` goes on.
    async fn refuse_during<T>(&mut self, work: impl Future<Output = T>, reason: &str) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(request) = self.queue.recv() => {
                    let refusal = format!("memcached at {} cannot be used: {reason}", self.server);
                    request.answer(Err(LaneError::NotSent(refusal)));
                }
            }
        }
    }

    fn report(&self, state: LaneState) {
        *self.state.lock() = state;
    }
}
