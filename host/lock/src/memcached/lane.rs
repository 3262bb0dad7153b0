//! A lane: one memcached connection with the queue of lock operations that it sends in batches.
//!
//! One task owns the connection. While a batch is on its way the queue fills, and what has queued is the next batch; so under
//! load one system call carries hundreds of operations, and a lone operation waits for nobody.
//!
//! While nobody wants a lock, the lane asks for the sentinel from time to time, so that a server that has forgotten its locks or stands
//! still is seen (see [`super::health`]).
//!
//! The task is in one of two states. *Disconnected*: it tries to connect, with jittered backoff, and between the tries it refuses
//! whatever comes, at once. *Connected*: it exchanges batches until one fails, or until the server closes the connection; what
//! was sent and not answered is then told to its callers as such, never sent again.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::codec::{Command, Reply};
use super::connection::{ConnectError, Connection, Refusal};
use super::health::Health;
use crate::config::LockConfig;
use crate::key::LockKey;

/// The way to a lane's task. The task ends when the lane is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    server: Arc<str>,
    queue: mpsc::Sender<Request>,
    state: Arc<Mutex<State>>,
}

/// What a lane tells of itself.
#[derive(Debug)]
enum State {
    /// It has this connection.
    Up(u64),
    /// It has none, and this is why.
    Down(String),
}

/// A reply, and where it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) connection: u64,
    pub(super) epoch: u64,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LaneError {
    /// Nothing was sent.
    NotSent(String),
    /// Nothing was sent: the connection that was asked for is gone.
    OtherConnection,
    /// It was sent, and what became of it is not known.
    Unanswered(String),
    /// The server has no memory for it, and did nothing.
    OutOfMemory,
}

#[derive(Debug)]
struct Request {
    key: LockKey,
    command: Command,
    /// Only over this connection, where one is named.
    connection: Option<u64>,
    reply: oneshot::Sender<Result<Answer, LaneError>>,
}

impl Lane {
    pub(super) fn spawn(server: &str, config: &Arc<LockConfig>, health: &Arc<Health>) -> Self {
        let server: Arc<str> = server.into();
        let (sender, queue) = mpsc::channel(config.queue);
        let state = Arc::new(Mutex::new(State::Down("it has not been reached yet".to_owned())));
        let task = Task {
            server: Arc::clone(&server),
            config: Arc::clone(config),
            health: Arc::clone(health),
            queue,
            state: Arc::clone(&state),
            pause: config.backoff_min,
            tried: false,
            unanswered: None,
        };
        tokio::spawn(task.run());
        Self {
            server,
            queue: sender,
            state,
        }
    }

    /// Sends one command and waits for its reply. When the future is dropped before the command is sent, it is not sent.
    pub(super) async fn call(
        &self,
        key: &LockKey,
        command: Command,
        connection: Option<u64>,
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
                TrySendError::Full(_) => format!("the queue to memcached at {server} is full (lock.queue)"),
                TrySendError::Closed(_) => format!("the lane to memcached at {server} has ended; start the host again"),
            })
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(LaneError::Unanswered("the lane has stopped".into())))
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        match &*lock(&self.state) {
            State::Up(_) => Ok(()),
            State::Down(reason) => Err(format!("memcached at {}: {reason}", self.server)),
        }
    }

    /// The connection that it has; 0: none.
    pub(super) fn connection(&self) -> u64 {
        match &*lock(&self.state) {
            State::Up(connection) => *connection,
            State::Down(_) => 0,
        }
    }
}

struct Task {
    server: Arc<str>,
    config: Arc<LockConfig>,
    health: Arc<Health>,
    queue: mpsc::Receiver<Request>,
    state: Arc<Mutex<State>>,
    pause: Duration,
    /// Whether it was tried to connect before.
    tried: bool,
    /// Since when the server has not answered what it was asked.
    unanswered: Option<Instant>,
}

impl Task {
    async fn run(mut self) {
        while !self.queue.is_closed() || !self.queue.is_empty() {
            let reason = match self.connect().await {
                Ok(connection) => {
                    tracing::info!(
                        server = &*self.server,
                        connection = connection.id,
                        "connected to memcached"
                    );
                    self.report(State::Up(connection.id));
                    self.pause = self.config.backoff_min;
                    match self.serve(connection).await {
                        Some(reason) => reason,
                        None => return,
                    }
                }
                Err(reason) => reason,
            };
            tracing::warn!(
                server = &*self.server,
                reason,
                "memcached is not reached; its locks are refused until it is"
            );
            self.report(State::Down(reason.clone()));
            let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
            self.pause = (self.pause * 2).min(self.config.backoff_max);
            self.refuse_until(tokio::time::sleep(pause), &reason).await;
        }
    }

    /// Tries to connect. Whoever asks meanwhile waits for the first try, and is refused during all others.
    async fn connect(&mut self) -> Result<Connection, String> {
        let (server, config, health) = (
            Arc::clone(&self.server),
            Arc::clone(&self.config),
            Arc::clone(&self.health),
        );
        let since = self.unanswered.unwrap_or_else(Instant::now);
        let attempt = async move {
            let opened = async {
                let mut connection = Connection::open(&server, &config).await?;
                if since.elapsed() > config.stall() {
                    health.stalled(since.elapsed());
                }
                let grace_left = connection.settle(&server, &config, health.known_life()).await?;
                health.greeted(connection.epoch, grace_left);
                Ok::<_, ConnectError>(connection)
            };
            opened.await.map_err(|error| error.to_string())
        };
        let before = match &*lock(&self.state) {
            State::Down(reason) if self.tried => Some(reason.clone()),
            _ => None,
        };
        self.tried = true;
        let connected = match before {
            Some(reason) => self.refuse_until(attempt, &reason).await,
            None => attempt.await,
        };
        if connected.is_ok() {
            self.unanswered = None;
        }
        connected
    }

    /// Exchanges batches until the connection breaks, and says why it did; none when nobody can ask any more.
    async fn serve(&mut self, mut connection: Connection) -> Option<String> {
        let mut batch = Vec::with_capacity(self.config.batch);
        loop {
            batch.clear();
            tokio::select! {
                biased;
                received = self.queue.recv_many(&mut batch, self.config.batch) => {
                    if received == 0 {
                        return None;
                    }
                }
                () = connection.broken() => return Some("the server closed the connection".into()),
                // An empty batch asks for the sentinel alone.
                () = tokio::time::sleep(self.config.heartbeat()) => {}
            }
            let began = Instant::now();
            if connection.is_broken() {
                // Found out before sending, so that nothing is in doubt.
                for request in batch {
                    answer(
                        request,
                        Err(LaneError::NotSent("the server closed the connection".into())),
                    );
                }
                return Some("the server closed the connection".into());
            }
            if let Err(reason) = self.exchange(&mut connection, &mut batch, began).await {
                self.unanswered = Some(began);
                return Some(reason);
            }
        }
    }

    /// Refuses whatever comes while `what` goes on.
    async fn refuse_until<T>(&mut self, what: impl Future<Output = T>, reason: &str) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                Some(request) = self.queue.recv() => {
                    let refusal = format!("memcached at {} is not reached: {reason}", self.server);
                    answer(request, Err(LaneError::NotSent(refusal)));
                }
            }
        }
    }

    /// Sends a batch and answers its callers.
    async fn exchange(
        &self,
        connection: &mut Connection,
        batch: &mut Vec<Request>,
        began: Instant,
    ) -> Result<(), String> {
        let (id, epoch) = (connection.id, connection.epoch);
        let sent: Vec<Request> = batch
            .drain(..)
            .filter_map(|request| {
                if request.reply.is_closed() {
                    // Its caller is gone, and nothing was sent.
                    return None;
                }
                if request.connection.is_some_and(|wanted| wanted != id) {
                    answer(request, Err(LaneError::OtherConnection));
                    return None;
                }
                Some(request)
            })
            .collect();
        let commands: Vec<_> = sent
            .iter()
            .map(|request| (request.key.as_str(), request.command))
            .collect();
        let (outcomes, end) = connection
            .exchange(&commands, began + self.config.exchange_timeout)
            .await;
        // Known before anybody is answered: whoever got a lock looks whether it may be trusted.
        if began.elapsed() > self.config.stall() {
            self.health.stalled(began.elapsed());
        }
        for (request, outcome) in sent.into_iter().zip(outcomes) {
            let result = match outcome {
                Ok(reply) => Ok(Answer {
                    reply,
                    connection: id,
                    epoch,
                }),
                Err(Refusal::OutOfMemory) => Err(LaneError::OutOfMemory),
                Err(Refusal::Unanswered(reason)) => Err(LaneError::Unanswered(reason)),
            };
            answer(request, result);
        }
        end
    }

    fn report(&self, state: State) {
        *lock(&self.state) = state;
    }
}

/// Nothing that holds this mutex can panic, so a poisoned one is still sound.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A caller that is gone needs no answer: whatever it took, it has recorded before it asked.
fn answer(request: Request, result: Result<Answer, LaneError>) {
    let _ = request.reply.send(result);
}
