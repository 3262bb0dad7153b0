//! How a host hears that the catalog has changed: a connection of its own listens, from when somebody waits for changes
//! first.
//!
//! Changes are counted, so that one that comes between two waits is not missed, and many that come together wake a
//! waiter once. What changes while nobody listens is not told afterwards: so it counts as a change, too, when the
//! connection has begun to listen, whether the first time or after it broke. A waiter looks for itself after a while
//! (`poll`), so a server that has vanished without a word, or that cannot be listened to, delays changes by that and no
//! more.

use std::future::poll_fn;
use std::sync::OnceLock;
use std::time::Duration;

use namelock_types::error_chain;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;

use crate::catalog::config::CatalogConfig;
use crate::catalog::write::CHANNEL;
use crate::postgres::reach::Reach;

/// How long to wait before connecting again: at first, and at most, after doubling each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How many changes there were.
pub(super) struct Changes {
    listener: Listener,
    poll: Duration,
    task: OnceLock<JoinHandle<()>>,
}

impl Changes {
    pub(super) fn new(reach: Reach, config: &CatalogConfig, shown: String) -> Self {
        Self {
            listener: Listener {
                reach,
                timeout: config.timeout,
                shown,
                count: watch::Sender::new(0),
            },
            poll: config.poll,
            task: OnceLock::new(),
        }
    }

    /// Waits until there were other than `seen` changes, or it is time to look, and returns how many there were.
    pub(super) async fn after(&self, seen: u64) -> u64 {
        self.task.get_or_init(|| tokio::spawn(self.listener.clone().run()));
        let mut count = self.listener.count.subscribe();
        let changed = tokio::time::timeout(self.poll, count.wait_for(|count| *count != seen)).await;
        // The sender is here, so there is a count or it is time.
        changed
            .ok()
            .and_then(Result::ok)
            .map_or_else(|| *self.listener.count.borrow(), |count| *count)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// What listens.
#[derive(Clone)]
struct Listener {
    reach: Reach,
    /// How long a server may take that is asked to tell changes.
    timeout: Duration,
    shown: String,
    count: watch::Sender<u64>,
}

impl Listener {
    /// Listens for ever, with a new connection whenever one breaks.
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut is_told = false;
        loop {
            let mut listens = false;
            let end = self.listen(&mut listens).await;
            if listens {
                (pause, is_told) = (PAUSE_MIN, false);
            }
            if !is_told {
                is_told = true;
                tracing::warn!(
                    url = self.shown,
                    error = end,
                    "changes of the catalog of tenants are not heard; it will be listened to again"
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Connects and counts what it hears until the connection breaks; returns why, and says whether it had begun to
    /// listen.
    async fn listen(&self, listens: &mut bool) -> String {
        let chain = |error: tokio_postgres::Error| error_chain(&error);
        let ((client, mut connection), _) = match self.reach.connect().await {
            Ok(reached) => reached,
            Err(unreachable) => return unreachable.to_string(),
        };
        let begun = tokio::time::timeout(self.timeout, async {
            let listen = format!("LISTEN {CHANNEL}");
            {
                // Nothing is sent or received but while the connection is polled.
                let mut answered = std::pin::pin!(client.batch_execute(&listen));
                loop {
                    tokio::select! {
                        answer = &mut answered => break answer.map_err(chain)?,
                        message = poll_fn(|context| connection.poll_message(context)) => {
                            message.ok_or_else(closed)?.map_err(chain)?;
                        }
                    }
                }
            }
            Ok::<_, String>((client, connection))
        });
        // The connection is open for as long as the client is there.
        let (_client, mut connection) = match begun.await {
            Ok(Ok(begun)) => begun,
            Ok(Err(reason)) => return reason,
            Err(_) => return format!("it has not answered within {:?}", self.timeout),
        };
        *listens = true;
        self.note_change();
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => self.note_change(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return error_chain(&error),
                None => return closed(),
            }
        }
    }

    fn note_change(&self) {
        self.count.send_modify(|count| *count += 1);
    }
}

fn closed() -> String {
    "it has closed the connection".to_owned()
}
