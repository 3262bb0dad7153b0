//! What a lane is asked, and answers.

use tokio::sync::oneshot;

use super::clock::Dating;
use super::codec::{Command, Reply};
use super::fleet::Phase;
use crate::fencing::ServerEpoch;
use crate::grant::ConnectionId;
use crate::key::LockKey;

/// A reply, and where it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) connection: ConnectionId,
    pub(super) epoch: ServerEpoch,
    /// What holds for the fleet, by this server.
    pub(super) phase: Phase,
    /// How long an item lives that was taken or found; none where that is not known.
    pub(super) dating: Option<Dating>,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LaneError {
    /// Nothing was sent.
    NotSent(String),
    /// Nothing was sent: the connection that it was to be sent over is gone.
    OtherConnection,
    /// It was sent, and what became of it is not known.
    Unanswered(String),
    /// The server has no memory for it, and did nothing.
    OutOfMemory,
}

/// One operation that waits for its batch.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) key: LockKey,
    pub(super) command: Command,
    /// Only over this connection, where one is named.
    pub(super) connection: Option<ConnectionId>,
    pub(super) reply: oneshot::Sender<Result<Answer, LaneError>>,
}

impl Request {
    /// Answers its caller. One that is gone needs no answer: it recorded what it may have taken before it asked.
    pub(super) fn answer(self, result: Result<Answer, LaneError>) {
        let _ = self.reply.send(result);
    }
}
