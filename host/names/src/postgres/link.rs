//! A connection and what drives it, as a pool has them.
//!
//! # Another server
//!
//! When another server than before is reached, the one before is the primary no longer, or a network lies between. What is
//! still connected to it may hang, or answer reads of what was, so it is not used again: connections have the number of the
//! [`Era`] in which they were made, and those of an earlier one are closed instead of being used. Somebody who waits for an
//! answer on one is told ([`Era::changed`]). An era also ends when a server hangs, and when it refuses to write: it was made
//! read-only under its connections, as some do to take a primary out of service.
//!
//! # A commit that no standby has
//!
//! A commit that waits for a synchronous standby can be cancelled: by an operator, or by `statement_timeout` where that
//! ends in the very moment in which the wait begins. PostgreSQL then commits without the standby, and answers as if
//! nothing were amiss, but for a warning before the answer. So whoever drives a connection closes it at that warning, and
//! the answer is never read: it is unknown whether the write outlasts a failover, and that is what the caller is told.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use namelock_types::error_chain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Connection, Socket};

use crate::postgres::reach::{Reach, Unreachable};

/// In which PostgreSQL waits for a synchronous standby. The text of the warning depends on the server's language.
const WAIT_FOR_STANDBY: &str = "SyncRepWaitForLSN";

/// Connections of one pool.
pub(crate) type Links = deadpool::managed::Pool<Linking>;

/// One that a pool has lent.
pub(crate) type Lent = deadpool::managed::Object<Linking>;

/// Makes connections.
pub(crate) struct Linking {
    reach: Reach,
    era: Era,
    /// The URL without its password.
    shown: Arc<str>,
}

/// For how long connections are good: until the next era.
#[derive(Clone)]
pub(crate) struct Era(watch::Sender<u64>);

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    client: ClientWrapper,
    era: u64,
}

impl Linking {
    pub(crate) fn new(reach: Reach, shown: &str) -> Self {
        Self {
            reach,
            era: Era(watch::Sender::new(0)),
            shown: shown.into(),
        }
    }

    pub(crate) fn era(&self) -> Era {
        self.era.clone()
    }
}

impl Manager for Linking {
    type Type = Link;
    type Error = Unreachable;

    async fn create(&self) -> Result<Link, Unreachable> {
        // What holds the future of a caller need not hold all of this.
        let ((client, connection), is_another) = Box::pin(self.reach.connect()).await?;
        if is_another {
            tracing::warn!(url = &*self.shown, "another server of PostgreSQL is the primary now");
            self.era.end(self.era.number());
        }
        let driver = tokio::spawn(drive(connection, Arc::clone(&self.shown)));
        Ok(Link {
            client: ClientWrapper::new(client, driver),
            era: self.era.number(),
        })
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<Unreachable> {
        if link.client.is_closed() || link.era != self.era.number() {
            return Err(RecycleError::message(
                "it is closed, or of a server that was the primary before",
            ));
        }
        Ok(())
    }
}

impl Era {
    fn number(&self) -> u64 {
        *self.0.borrow()
    }

    /// Ends the era with this number, unless it has ended.
    pub(crate) fn end(&self, number: u64) {
        self.0.send_if_modified(|now| {
            let ends = *now == number;
            *now += u64::from(ends);
            ends
        });
    }

    /// Waits until the era of a connection has ended.
    pub(crate) async fn changed(&self, number: u64) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|now| *now != number).await;
    }
}

impl Link {
    /// The era in which it was made.
    pub(crate) fn era(&self) -> u64 {
        self.era
    }
}

impl Deref for Link {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}

/// Sends and receives until the connection ends.
async fn drive<T>(mut connection: Connection<Socket, T>, shown: Arc<str>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            // Keeps P2: nobody is told of a commit that a failover may lose. What ends here never hands its answer on.
            Some(Ok(AsyncMessage::Notice(notice))) if is_without_standby(&notice) => {
                tracing::error!(
                    url = &*shown,
                    warning = notice.message(),
                    "a commit that waited for the synchronous standby of PostgreSQL was cancelled: it is on the primary alone, \
                     and its caller is told that it is unknown; find out who cancels, and do not"
                );
                return;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!(
                    url = &*shown,
                    error = error_chain(&error),
                    "a connection to PostgreSQL broke"
                );
                return;
            }
            None => return,
        }
    }
}

/// Returns whether a notice says that a commit was not waited for.
fn is_without_standby(notice: &DbError) -> bool {
    notice.routine() == Some(WAIT_FOR_STANDBY)
}
