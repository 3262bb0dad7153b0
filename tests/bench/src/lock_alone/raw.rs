//! What memcached and one connection to it can do at most: the commands of this project's lock, prepared as bytes, are sent in
//! batches, and the replies are counted.
//!
//! Nobody could lock like this: what is to be locked is known beforehand, and no caller is told of its lock. There are two
//! batches, each with half of the callers, so that the server works on one while the replies to the other are read.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use namelock_lock::LockKey;

use super::EXPIRY_SECONDS;
use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::cycles::NAMESPACE;

/// A server that does not answer for so long is gone.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a successful reply begins with: `HD`.
const SUCCESS: u8 = b'H';

/// One connection with its batches.
pub(super) struct Batches {
    connection: Connection,
    batches: Vec<Batch>,
}

/// The commands of some callers.
struct Batch {
    callers: usize,
    acquire: String,
    release: String,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer was received, and not looked at yet.
    received: std::ops::Range<usize>,
}

impl Batches {
    pub(super) fn connect(address: SocketAddr, callers: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect to memcached")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let half = callers / 2;
        let batches: anyhow::Result<Vec<_>> = [0..half, half..callers]
            .into_iter()
            .filter(|callers| !callers.is_empty())
            .map(Batch::prepare)
            .collect();
        Ok(Self {
            connection: Connection {
                stream,
                buffer: vec![0; 64 * 1024],
                received: 0..0,
            },
            batches: batches?,
        })
    }

    fn run(&mut self, time: Duration) -> anyhow::Result<Work> {
        let Self { connection, batches } = self;
        let (begin, mut times) = (Instant::now(), Vec::new());
        let mut sent = Vec::new();
        for batch in &*batches {
            sent.push(Instant::now());
            connection.send(&batch.acquire)?;
        }
        let mut goes_on = true;
        while goes_on {
            for batch in &*batches {
                connection.take_replies(batch.callers)?;
                connection.send(&batch.release)?;
            }
            goes_on = begin.elapsed() < time;
            for (batch, sent) in batches.iter().zip(&mut sent) {
                connection.take_replies(batch.callers)?;
                times.extend(std::iter::repeat_n(sent.elapsed(), batch.callers));
                if goes_on {
                    *sent = Instant::now();
                    connection.send(&batch.acquire)?;
                }
            }
        }
        Ok(Work::new(times, begin.elapsed()))
    }
}

#[async_trait]
impl Contestant for Batches {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        tokio::task::block_in_place(|| self.run(time))
    }
}

impl Batch {
    fn prepare(callers: std::ops::Range<usize>) -> anyhow::Result<Self> {
        let (mut acquire, mut release) = (String::new(), String::new());
        let count = callers.len();
        for caller in callers {
            let key = LockKey::new(NAMESPACE, &format!("{caller} prepared"))?;
            let key = key.as_str();
            // No item has this CAS, so that a lock that is held is left alone.
            let never = u64::MAX;
            write!(
                acquire,
                "ma {key} N{EXPIRY_SECONDS} J{caller} D0 C{never} c O{caller}\r\n"
            )?;
            write!(release, "md {key} O{caller}\r\n")?;
        }
        Ok(Self {
            callers: count,
            acquire,
            release,
        })
    }
}

impl Connection {
    fn send(&mut self, commands: &str) -> anyhow::Result<()> {
        Ok(self.stream.write_all(commands.as_bytes())?)
    }

    /// Waits for so many replies, each a line, and checks that each is a success. What follows them is kept.
    fn take_replies(&mut self, count: usize) -> anyhow::Result<()> {
        let (mut taken, mut at_begin) = (0, true);
        while taken < count {
            if self.received.is_empty() {
                let length = self.stream.read(&mut self.buffer)?;
                ensure!(length > 0, "memcached has closed the connection");
                self.received = 0..length;
            }
            let byte = self.buffer[self.received.start];
            self.received.start += 1;
            ensure!(!at_begin || byte == SUCCESS, "memcached has refused a prepared command");
            at_begin = byte == b'\n';
            taken += usize::from(at_begin);
        }
        Ok(())
    }
}
