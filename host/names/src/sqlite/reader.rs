//! The threads that read.

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::NamesError;
use crate::fair::Taker;
use crate::list::{ListQuery, Page, PageLimits};
use crate::past_request::PastRequest;
use crate::quota::Usage;
use crate::registration::Registration;
use crate::request::RequestKey;
use crate::sqlite::clock::Machine;
use crate::sqlite::list::list;
use crate::sqlite::rows::{active, find_request, usage};

/// Where the answer to one read is sent.
type Reply<T> = oneshot::Sender<Result<T, NamesError>>;

/// One queued read.
pub(super) enum Read {
    /// Finds the active registration of a name of a tenant.
    Find(String, String, Reply<Option<Registration>>),
    /// Finds what a request of a tenant has done.
    FindRequest(String, RequestKey, Reply<PastRequest>),
    /// Lists registrations of a tenant.
    List(ListQuery, PageLimits, Reply<Page>),
    /// Finds what a tenant keeps.
    Usage(String, Reply<Usage>),
}

/// What a read found, and where it is sent.
enum Found {
    Registration(Reply<Option<Registration>>, rusqlite::Result<Option<Registration>>),
    Request(Reply<PastRequest>, rusqlite::Result<PastRequest>),
    Page(Reply<Page>, rusqlite::Result<Page>),
    Usage(Reply<Usage>, rusqlite::Result<Usage>),
}

/// How many reads one transaction answers at most.
const BATCH: usize = 64;

/// Answers reads until the queue, which all readers share, is closed. The reads of a batch share one transaction, so that
/// a busy reader is woken, and takes SQLite's locks, once for many of them.
///
/// `keep_time` is called when the time has not been kept for long.
pub(super) fn run(queue: &Taker<Read>, connection: &Connection, machine: &Machine, keep_time: impl Fn()) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.take(&mut batch, BATCH) > 0 {
        match look_up(connection, &mut batch, machine) {
            Ok((found, is_old)) => {
                if is_old {
                    keep_time();
                }
                found.into_iter().for_each(Found::answer);
            }
            Err(error) => {
                let error = NamesError::from(error);
                batch.drain(..).for_each(|read| read.refuse(&error));
            }
        }
    }
}

/// Reads a batch from one snapshot of the database, which is no older than any read of the batch, and tells whether the
/// time has not been kept for long.
fn look_up(connection: &Connection, batch: &mut Vec<Read>, machine: &Machine) -> rusqlite::Result<(Vec<Found>, bool)> {
    let transaction = connection.unchecked_transaction()?;
    let (now, is_old) = machine.time_ms(&transaction)?;
    let found = batch.drain(..).filter_map(|read| read.run(&transaction, now)).collect();
    Ok((found, is_old))
}

impl Read {
    /// Reads, unless the caller has gone.
    fn run(self, connection: &Connection, now: i64) -> Option<Found> {
        Some(match self {
            Self::Find(_, _, reply) if reply.is_closed() => return None,
            Self::FindRequest(_, _, reply) if reply.is_closed() => return None,
            Self::List(_, _, reply) if reply.is_closed() => return None,
            Self::Usage(_, reply) if reply.is_closed() => return None,
            Self::Find(tenant, name, reply) => Found::Registration(reply, active(connection, &tenant, &name, now)),
            Self::FindRequest(tenant, request, reply) => {
                Found::Request(reply, find_request(connection, &tenant, &request))
            }
            Self::List(query, limits, reply) => Found::Page(reply, list(connection, &query, limits, now)),
            Self::Usage(tenant, reply) => Found::Usage(reply, usage(connection, &tenant)),
        })
    }

    fn refuse(self, error: &NamesError) {
        match self {
            Self::Find(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::FindRequest(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::List(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Self::Usage(_, reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

impl Found {
    /// Sends the answer. The caller may be gone by now; then nobody needs it.
    fn answer(self) {
        match self {
            Self::Registration(reply, found) => drop(reply.send(found.map_err(NamesError::from))),
            Self::Request(reply, found) => drop(reply.send(found.map_err(NamesError::from))),
            Self::Page(reply, found) => drop(reply.send(found.map_err(NamesError::from))),
            Self::Usage(reply, found) => drop(reply.send(found.map_err(NamesError::from))),
        }
    }
}
