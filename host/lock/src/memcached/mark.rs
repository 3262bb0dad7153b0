//! The mark that a host leaves beside a lock that it waits for: an item of its own, on the lock's server and lane.
//!
//! No lock depends on a mark. It only tells who is next ([`crate::fairness`]), so nothing is tried twice here, and a
//! mark that nobody keeps is gone after [`TTL_SECONDS`].

use std::time::Duration;

use super::codec::{Command, Reply};
use super::lane::Lane;
use super::request::Answer;
use crate::grant::{HeldLock, ItemVersion, Mark, MarkChange, Place, Sight};
use crate::key::LockKey;

/// How long a mark stays, as memcached counts: a second less by its coarse clock, or two where that jumps. Whoever waits
/// looks several times a second.
const TTL_SECONDS: u32 = 3;

/// A mark that lasts no longer than this is kept by its host.
const FADES_SECONDS: u32 = 1;

/// Looks at a lock and its mark, in one batch; none when the server does not tell.
pub(super) async fn sight(lane: &Lane, key: &LockKey) -> Option<Sight> {
    let mark = key.mark();
    let (lock, mark) = tokio::join!(
        lane.call(key, Command::Look, None),
        lane.call(&mark, Command::Look, None)
    );
    let held = match lock.ok()?.reply {
        Reply::Item { cas, seconds_left, .. } => Some(HeldLock {
            cas,
            remaining: seconds_left.map(|left| Duration::from_secs(left.into())),
        }),
        Reply::Missing => None,
        Reply::Done { .. } | Reply::Mismatch => return None,
    };
    Some(Sight {
        held,
        mark: mark.ok().and_then(read),
    })
}

fn read(answer: Answer) -> Option<Mark> {
    let Reply::Item {
        value: Some(value),
        cas,
        seconds_left,
        ..
    } = answer.reply
    else {
        return None;
    };
    Some(Mark {
        place: Place::from_item(value),
        version: ItemVersion {
            connection: answer.connection,
            cas,
        },
        fades: seconds_left.is_some_and(|left| left <= FADES_SECONDS),
    })
}

/// Changes the mark of a lock, if it still is as it was seen.
pub(super) async fn change(lane: &Lane, key: &LockKey, change: MarkChange) {
    let key = key.mark();
    let send = async |command, version: Option<ItemVersion>| {
        let sent = lane.call(&key, command, version.map(|version| version.connection));
        if let Err(error) = sent.await {
            tracing::debug!(key = key.as_str(), ?error, "a mark was not changed");
        }
    };
    let leave = |place: Place| Command::Add {
        ttl_seconds: TTL_SECONDS,
        value: place.get(),
    };
    let remove = |version: ItemVersion| Command::Delete { cas: version.cas };
    match change {
        MarkChange::Leave(place) => send(leave(place), None).await,
        MarkChange::Keep(version) => {
            let keep = Command::Renew {
                ttl_seconds: TTL_SECONDS,
                cas: version.cas,
            };
            send(keep, Some(version)).await;
        }
        MarkChange::Replace(version, place) => {
            // In one batch, in this order.
            tokio::join!(send(remove(version), Some(version)), send(leave(place), None));
        }
        MarkChange::Remove(version) => send(remove(version), Some(version)).await,
    }
}
