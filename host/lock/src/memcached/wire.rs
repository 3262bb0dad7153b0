//! Writes a batch of commands to a socket, and reads their replies.

use std::io;

use memcache::exp::{AsyncMetaConnection, Error};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::codec::{self, Command, Reply, Text, TextCommand};

/// What the server answers to arithmetic on an item that is not a number; it checks that before it compares the CAS.
const NOT_A_NUMBER: &str = "cannot increment or decrement non-numeric value";

/// One socket to a server.
pub(super) struct Wire {
    /// Reads replies. It has the socket's second handle, because a batch must be written as a whole and its replies
    /// read one by one: `execute_batch` of the crate gives up on all replies of a batch for one `SERVER_ERROR out of
    /// memory` among them.
    replies: AsyncMetaConnection,
    socket: TcpStream,
    payload: Vec<u8>,
}

/// What became of one command of a batch.
pub(super) type Outcome = Result<Reply, CommandError>;

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CommandError {
    /// The server has no memory for it, and did nothing.
    OutOfMemory,
    /// It was sent, and what became of it is not known.
    Unanswered(String),
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        let socket = socket.into_std()?;
        Ok(Self {
            replies: AsyncMetaConnection::from_stream(TcpStream::from_std(socket.try_clone()?)?),
            socket: TcpStream::from_std(socket)?,
            payload: Vec::new(),
        })
    }

    /// Writes a batch and reads its replies into `outcomes`, which keeps those read before an error.
    pub(super) async fn exchange(
        &mut self,
        commands: &[(&str, Command)],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Error> {
        self.payload.clear();
        for (opaque, (key, command)) in commands.iter().enumerate() {
            command.encode(key, opaque, &mut self.payload)?;
        }
        self.socket.write_all(&self.payload).await?;
        for opaque in 0..commands.len() {
            outcomes.push(match self.replies.receive().await {
                Ok(response) => Ok(codec::decode(response, opaque)?),
                // The two kinds of error line after which replies and commands are still in step. The second one is how
                // an add is refused for an item that is not a number: some other client's lock.
                Err(Error::Server(message)) if is_out_of_memory(&message) => Err(CommandError::OutOfMemory),
                Err(Error::Rejected(message)) if message == NOT_A_NUMBER => Ok(Reply::Mismatch),
                Err(error) => return Err(error),
            });
        }
        Ok(())
    }

    /// Sends one command about an item whose value is a text; returns the item if it was asked for and is there.
    pub(super) async fn text(&mut self, key: &str, command: TextCommand<'_>) -> Result<Option<Text>, Error> {
        self.payload.clear();
        command.encode(key, &mut self.payload)?;
        self.socket.write_all(&self.payload).await?;
        codec::decode_text(self.replies.receive().await?)
    }

    /// Waits until the server closes the connection, or says something that nobody asked for.
    pub(super) async fn broken(&self) {
        loop {
            if self.socket.readable().await.is_err() || self.is_broken() {
                return;
            }
        }
    }

    /// Tells, without waiting, whether the server has closed the connection or said something that nobody asked for.
    /// Only between exchanges.
    pub(super) fn is_broken(&self) -> bool {
        !matches!(self.socket.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Tells whether the server refused a command for want of memory: `Out of memory allocating new item` where there was
/// no item, and `out of memory` where there was one (memcached 1.6.18, `proto_text.c`).
fn is_out_of_memory(message: &str) -> bool {
    const WORDS: &str = "out of memory";
    message
        .get(..WORDS.len())
        .is_some_and(|words| words.eq_ignore_ascii_case(WORDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_out_of_memory_messages_are_recognized() {
        for message in ["out of memory", "Out of memory allocating new item"] {
            assert!(is_out_of_memory(message), "{message}");
        }
        for message in ["", "out", "object too large for cache", "öut of memory"] {
            assert!(!is_out_of_memory(message), "{message}");
        }
    }
}
