//! Writes a batch of commands to a server, and reads their replies.
//!
//! The crate `memcache` writes the commands and reads the reply lines; what is between them and the stream is here. Its own
//! connection is not used, for three reasons: it takes a TCP stream alone, so nothing over TLS; its `execute_batch` gives up on
//! all replies of a batch for one `SERVER_ERROR out of memory` among them; and it reads lines of any length. What else was
//! considered: a proxy for TLS beside the host (one more process that can stall, and its end of the connection is in the
//! clear); a pair of sockets inside the host with a task that passes TLS on (two copies and a switch of tasks for each batch,
//! and nobody sees any more whether the server has closed the connection); another client for one of the two streams (two
//! readers of one protocol).

use std::io;
use std::ops::Range;

use memcache::exp::{Error, MetaCommandResult, MetaResponse, ReturnCode, parse_meta_result};

use super::codec::{self, Command, Reply, Text, TextCommand};
use super::stream::Stream;

/// What the server answers to arithmetic on an item that is not a number; it checks that before it compares the CAS.
const NOT_A_NUMBER: &str = "cannot increment or decrement non-numeric value";

/// For how much there is room at least when the stream is read.
const READ_BYTES: usize = 16 * 1024;

/// The longest line that is read: a key has 250 bytes, and its flags fewer.
const LINE_BYTES_MAX: usize = 2048;

/// The largest value that is read: the largest item of a server that was not told otherwise (`-I`). Ours are smaller by far.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// A connection to a server, in the protocol's words.
pub(super) struct Wire {
    stream: Stream,
    /// What was read. Up to `seen` it was looked at.
    input: Vec<u8>,
    seen: usize,
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
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            seen: 0,
            payload: Vec::new(),
        }
    }

    /// Whether what is sent is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.stream.is_tls()
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
        self.stream.write(&self.payload).await?;
        for opaque in 0..commands.len() {
            outcomes.push(match self.reply().await {
                Ok(reply) => Ok(codec::decode(reply, opaque)?),
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
        self.stream.write(&self.payload).await?;
        Ok(codec::decode_text(self.reply().await?))
    }

    /// Sends lines of the classic protocol, whose answer is read by [`line`](Self::line).
    pub(super) async fn send(&mut self, lines: &str) -> Result<(), Error> {
        Ok(self.stream.write(lines.as_bytes()).await?)
    }

    /// Reads one line.
    pub(super) async fn line(&mut self) -> Result<String, Error> {
        let line = self.read_line().await?;
        Ok(String::from_utf8_lossy(&self.input[line]).into_owned())
    }

    /// Waits until the server closes the connection, or says something that nobody asked for. Only between exchanges.
    pub(super) async fn broken(&mut self) {
        // Whatever this reads ends the connection, so it does not matter that it is read.
        if self.seen == self.input.len() {
            let _ = self.fill().await;
        }
    }

    /// Tells, without waiting, whether the server has closed the connection or said something that nobody asked for.
    /// Only between exchanges.
    pub(super) fn is_broken(&mut self) -> bool {
        self.seen != self.input.len() || !self.stream.is_quiet()
    }

    /// Reads one reply to a meta command, with its value.
    async fn reply(&mut self) -> Result<MetaCommandResult, Error> {
        let line = self.read_line().await?;
        let line = &self.input[line];
        let response = MetaResponse::parse_header(line)?;
        // The crate has checked it, and keeps it to itself.
        let length = match response.rc() {
            ReturnCode::Va => Some(value_length(line)?),
            _ => None,
        };
        let mut result = parse_meta_result(response)?;
        if let Some(length) = length {
            let value = self.read_value(length).await?;
            result.value = Some(self.input[value].to_vec());
        }
        Ok(result)
    }

    /// Reads one line, and tells where it is in `input`, without its end.
    async fn read_line(&mut self) -> Result<Range<usize>, Error> {
        let mut searched = 0;
        loop {
            let unseen = &self.input[self.seen..];
            if let Some(at) = memchr::memchr(b'\n', &unseen[searched..]) {
                let line = unseen[..searched + at].strip_suffix(b"\r");
                let length = line.map_or(searched + at, <[u8]>::len);
                let begin = self.seen;
                self.seen += searched + at + 1;
                return Ok(begin..begin + length);
            }
            searched = unseen.len();
            if searched > LINE_BYTES_MAX {
                return Err(Error::Protocol(format!(
                    "it sent a line of over {LINE_BYTES_MAX} bytes"
                )));
            }
            self.fill().await?;
        }
    }

    /// Reads a value of this length, and tells where it is in `input`.
    async fn read_value(&mut self, length: usize) -> Result<Range<usize>, Error> {
        if length > VALUE_BYTES_MAX {
            return Err(Error::Protocol(format!(
                "it has an item of {length} bytes, and none of a lock has over {VALUE_BYTES_MAX}; delete it"
            )));
        }
        const END: &[u8] = b"\r\n";
        while self.input.len() - self.seen < length + END.len() {
            self.fill().await?;
        }
        let begin = self.seen;
        self.seen += length + END.len();
        if self.input[begin + length..self.seen] != *END {
            return Err(Error::Protocol("a value does not end where it should".into()));
        }
        Ok(begin..begin + length)
    }

    /// Waits for more, and appends it. What was looked at is gone then.
    async fn fill(&mut self) -> Result<(), Error> {
        self.input.drain(..self.seen);
        self.seen = 0;
        self.input.reserve(READ_BYTES);
        match self.stream.read(&mut self.input).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

/// The length that a `VA` line announces for its value.
fn value_length(line: &[u8]) -> Result<usize, Error> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let length = words
        .nth(1)
        .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    length.ok_or_else(|| Error::Protocol("a value has no length".into()))
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
