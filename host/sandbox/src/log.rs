//! The tenant's log: its guest's standard output and error, and what the host says of its calls.
//!
//! What is charged is what is written: a line costs what stands before its text too, and its text as it is escaped. A
//! line has to fit twice, into what is left of the call's own limit and into the tenant's budget by time. Once one did
//! not, nothing more of the guest's output is written in this call.
//!
//! Whoever follows the tenant's log ([`Feed`]) is told what was written, and how many lines were not. There a line keeps its
//! characters: the layer above writes it as a JSON string.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use namelock_account::{Account, Counter, Limit};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::feed::{Feed, Line, What, Writer};
use crate::recording::Tape;
use crate::request::TraceId;

/// The longest line; a longer one is continued in the next.
const LINE_BYTES_MAX: usize = 1024;

/// How much a guest may write at once, in bytes.
const WRITE_BYTES_MAX: usize = 4096;

/// What a line has besides its text, the tenant's id and the request's: time, level, names of fields, and its end. An
/// estimate, because how a line looks is decided by whoever writes it; a test of the host compares it with what is in
/// its log.
const LINE_OVERHEAD_BYTES: usize = 72;

/// What a line has besides if its request is traced.
const TRACE_ID_BYTES: usize = " trace_id=".len() + TraceId::DIGITS;

/// The log of one call. Clones share it, and its limit.
#[derive(Clone)]
pub(crate) struct TenantLog {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    account: Arc<Account>,
    feed: Arc<Feed>,
    request_id: Box<str>,
    trace_id: Option<TraceId>,
    line: Vec<u8>,
    limit: usize,
    /// How many bytes its guest's lines took.
    used: usize,
    /// Whether a line did not fit.
    full: bool,
    tape: Tape,
    /// How many bytes of lines are on the tape.
    taped: usize,
}

impl TenantLog {
    /// Opens the log of a call, whose output may take `limit` bytes.
    pub(crate) fn new(account: &Arc<Account>, feed: &Arc<Feed>, request_id: &str, limit: usize, tape: &Tape) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                account: Arc::clone(account),
                feed: Arc::clone(feed),
                request_id: request_id.into(),
                trace_id: None,
                line: Vec::new(),
                limit,
                used: 0,
                full: false,
                tape: tape.clone(),
                taped: 0,
            })),
        }
    }

    /// Has each line name the trace that its call belongs to.
    pub(crate) fn traced(self, trace_id: Option<TraceId>) -> Self {
        self.inner.lock().trace_id = trace_id;
        self
    }

    /// Writes a line of the host's about this call, after what its guest has written. It is charged to the tenant's
    /// budget alone: a call has one at most, of bounded length, and output must not be able to displace it.
    pub(crate) fn warn(&self, text: &str) {
        let mut inner = self.inner.lock();
        inner.emit();
        inner.warn(text);
    }

    /// Writes the line that the guest has begun.
    pub(crate) fn end(&self) {
        self.inner.lock().emit();
    }

    /// How many bytes the guest's lines took.
    pub(crate) fn used(&self) -> usize {
        self.inner.lock().used
    }
}

impl Inner {
    fn write(&mut self, mut bytes: &[u8]) {
        if !self.tape.writes() {
            return;
        }
        // What does not fit is counted, unless a tape wants it.
        while (!self.full || self.tape.is_on()) && !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(LINE_BYTES_MAX - self.line.len())];
            let (taken, ends) = match room.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (room.len(), self.line.len() + room.len() == LINE_BYTES_MAX),
            };
            self.line
                .extend(room[..taken].strip_suffix(b"\n").unwrap_or(&room[..taken]));
            bytes = &bytes[taken..];
            if ends {
                self.emit();
            }
        }
        if self.full {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            self.drop_lines(lines as u64);
        }
    }

    /// Writes the line that the guest has begun, if it fits.
    fn emit(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        if self.full && !self.tape.is_on() {
            self.drop_lines(1);
            return;
        }
        // Whatever a guest writes, control characters too, reaches the log as escaped text, and never as lines of its
        // own.
        let text = String::from_utf8_lossy(&line);
        let line = text.escape_debug().to_string();
        self.tape(&line);
        if self.tape.is_quiet() {
            return;
        }
        if self.full {
            self.drop_lines(1);
            return;
        }
        let cost = self.cost(&line);
        if cost > self.limit - self.used {
            self.account.refuse(Limit::LogBytes);
            self.drop_lines(1);
            self.fill("more output is dropped (limits.log_bytes)");
        } else if self.account.log(cost) {
            self.used += cost;
            tracing::info!(
                target: "guest",
                tenant = &**self.account.tenant(),
                request_id = &*self.request_id,
                trace_id = self.trace_id.map(tracing::field::display),
                "{line}"
            );
            self.tell(Writer::Handler, &text);
        } else {
            self.feed.lost(1);
            self.fill("more output is dropped (limits.log_rate)");
        }
    }

    /// Counts lines that are not written.
    fn drop_lines(&self, lines: u64) {
        self.account.charge(Counter::LogLinesDropped, lines);
        self.feed.lost(lines);
    }

    /// Tells those who follow the log that a line was written.
    fn tell(&self, from: Writer, text: &str) {
        self.feed.tell(|| {
            What::Line(Line {
                at: SystemTime::now(),
                request_id: self.request_id.clone(),
                trace_id: self.trace_id,
                from,
                text: text.into(),
            })
        });
    }

    /// Notes a line for a recording. What the tenant has left of its log by time is not the call's, and says nothing of it.
    fn tape(&mut self, line: &str) {
        self.taped = self.taped.saturating_add(line.len());
        if self.taped <= self.limit {
            self.tape.line(line);
        }
    }

    fn fill(&mut self, why: &str) {
        self.full = true;
        self.warn(why);
    }

    fn warn(&self, text: &str) {
        if self.tape.is_quiet() {
            return;
        }
        if self.account.log(self.cost(text)) {
            tracing::warn!(
                target: "guest",
                tenant = &**self.account.tenant(),
                request_id = &*self.request_id,
                trace_id = self.trace_id.map(tracing::field::display),
                "{text}"
            );
            self.tell(Writer::Host, text);
        } else {
            self.feed.lost(1);
        }
    }

    fn cost(&self, text: &str) -> usize {
        let trace_id = self.trace_id.map_or(0, |_| TRACE_ID_BYTES);
        LINE_OVERHEAD_BYTES + trace_id + self.account.tenant().len() + self.request_id.len() + text.len()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.emit();
    }
}

impl IsTerminal for TenantLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for TenantLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for TenantLog {
    async fn ready(&mut self) {}
}

impl OutputStream for TenantLog {
    // Keeps P6: the work of one write is bounded, whatever a guest passes.
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap("wrote more than check-write permits"));
        }
        self.inner.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for TenantLog {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.inner.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use namelock_account::Budgets;

    use super::*;
    use crate::feed::{Dropped, Next};

    fn account(log_rate: u32) -> Arc<Account> {
        let budgets = Budgets {
            log_rate,
            ..Budgets::default()
        };
        Arc::new(Account::new("t", &budgets))
    }

    fn write(account: &Arc<Account>, limit: usize, text: &str) -> usize {
        let log = TenantLog::new(account, &Arc::default(), "r", limit, &Tape::default());
        log.inner.lock().write(text.as_bytes());
        log.used()
    }

    // Shows P6: a line of one letter costs what it takes in the log, not one byte.
    #[test]
    fn what_stands_before_a_line_is_charged() {
        let account = account(1 << 30);
        let used = write(&account, 16 << 10, &"x\n".repeat(8192));
        assert!(used <= 16 << 10, "{used}");
        let lines = used / (LINE_OVERHEAD_BYTES + 3);
        assert!((100..300).contains(&lines), "{lines}");
        let notice = LINE_OVERHEAD_BYTES + 2 + "more output is dropped (limits.log_bytes)".len();
        assert_eq!(account.used(Counter::LogBytes), (used + notice) as u64);
        assert_eq!(account.used(Counter::LogLinesDropped), (8192 - lines) as u64);
        assert_eq!(account.refusals(Limit::LogBytes), 1);
    }

    #[test]
    fn a_write_beyond_what_is_permitted_is_a_trap() {
        let mut log = TenantLog::new(&account(1 << 30), &Arc::default(), "r", 1 << 20, &Tape::default());
        let permitted = log.check_write().unwrap();
        OutputStream::write(&mut log, vec![b'x'; permitted].into()).unwrap();
        let trap = OutputStream::write(&mut log, vec![b'x'; permitted + 1].into());
        assert!(matches!(trap, Err(StreamError::Trap(_))), "{trap:?}");
    }

    #[test]
    fn what_escaping_adds_is_charged() {
        let account = account(1 << 30);
        let text = "\u{1}".repeat(100);
        assert_eq!(
            write(&account, 1 << 20, &format!("{text}\n")),
            LINE_OVERHEAD_BYTES + 2 + 500
        );
    }

    #[test]
    fn calls_of_one_tenant_share_its_budget() {
        let account = account(100);
        let lines: Vec<_> = (0..100).map(|_| write(&account, 16 << 10, "some line\n") > 0).collect();
        let written = lines.iter().filter(|written| **written).count();
        assert!((5..50).contains(&written), "{written}");
        assert!(account.used(Counter::LogLinesDropped) >= 100 - written as u64);
        assert!(account.refusals(Limit::LogRate) > 0 && account.refusals(Limit::LogBytes) == 0);
    }

    #[test]
    fn long_lines_are_continued_and_the_last_needs_no_end() {
        let account = account(1 << 30);
        let text = format!("{}\n\nend", "x".repeat(LINE_BYTES_MAX * 2 + 1));
        let log = TenantLog::new(&account, &Arc::default(), "r", 1 << 20, &Tape::default());
        log.inner.lock().write(text.as_bytes());
        assert_eq!(log.used(), 3 * (LINE_OVERHEAD_BYTES + 2) + LINE_BYTES_MAX * 2 + 1);
        log.warn("broken");
        assert_eq!(log.used(), 4 * (LINE_OVERHEAD_BYTES + 2) + LINE_BYTES_MAX * 2 + 4);
    }

    // Shows P6: who follows hears of every line that was not written.
    #[tokio::test]
    async fn a_follower_reads_what_is_written_and_hears_how_much_is_not() {
        let (account, feed) = (account(1 << 30), Arc::<Feed>::default());
        let follower = feed.follow(1).unwrap();
        let limit = LINE_OVERHEAD_BYTES + 10;
        let log = TenantLog::new(&account, &feed, "r", limit, &Tape::default());
        log.inner.lock().write("a\u{1b}b\ntoo long a line\nc\nd\n".as_bytes());
        let line = async || match follower.next().await {
            Next::Event(event) => match &event.what {
                What::Line(line) => (event.number, line.from, line.text.to_string()),
                What::Request(_) => panic!("{event:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(line().await, (1, Writer::Handler, "a\u{1b}b".to_owned()));
        let dropped = Dropped { last: 2, events: 1 };
        assert_eq!(follower.next().await, Next::Dropped(dropped));
        let notice = "more output is dropped (limits.log_bytes)".to_owned();
        assert_eq!(line().await, (3, Writer::Host, notice));
        assert_eq!(follower.dropped(), Some(Dropped { last: 5, events: 2 }));
    }
}
