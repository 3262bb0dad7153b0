//! Writes the log on a thread of its own.
//!
//! Whoever logs puts a line into a queue and goes on: a standard error that nobody reads (a full pipe, a stopped
//! terminal, a full disk) stops this one thread, and no request. The queue is bounded in bytes. A line that finds no
//! room is dropped and counted, and the thread says how many were dropped as soon as it can write again. A log that
//! cannot be written at all costs nothing but the log.
//!
//! Keeps P6: the log of one tenant cannot make another one wait.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long the end of the process waits for the last lines.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes lines of the log. Clones share one queue.
#[derive(Clone, Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

/// The thread that writes. When this is dropped, what has queued is written, for at most a second.
#[derive(Debug)]
pub struct LogThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told when a line comes, when the queue is closed, and when the thread has ended.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    /// Lines dropped since the thread last said so.
    dropped: u64,
    closed: bool,
    ended: bool,
}

impl LogWriter {
    /// Starts the thread, which writes to `output`; the queue holds `bytes_max`.
    ///
    /// # Errors
    ///
    /// The machine gives no thread.
    pub fn start(output: impl Write + Send + 'static, bytes_max: usize) -> io::Result<(Self, LogThread)> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                lines: VecDeque::new(),
                bytes: 0,
                bytes_max,
                dropped: 0,
                closed: false,
                ended: false,
            }),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let inside = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || inside.write_lines(output))?;
        let writer = Self {
            shared: Arc::clone(&shared),
        };
        let thread = LogThread {
            shared,
            thread: Some(thread),
        };
        Ok((writer, thread))
    }

    /// Changes how many bytes the queue holds.
    pub fn resize(&self, bytes_max: usize) {
        self.shared.queue.lock().bytes_max = bytes_max;
    }

    /// Bytes of the lines that are not written yet.
    pub fn queued(&self) -> usize {
        self.shared.queue.lock().bytes
    }

    /// How many lines were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

impl Write for LogWriter {
    /// Queues one line: `tracing-subscriber` writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Shared {
    fn push(&self, line: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.bytes + line.len() > queue.bytes_max {
            queue.dropped += 1;
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes lines until the queue is closed and empty.
    fn write_lines(&self, mut output: impl Write) {
        let mut text = Vec::new();
        let mut queue = self.queue.lock();
        loop {
            if queue.lines.is_empty() && queue.dropped == 0 {
                if queue.closed {
                    break;
                }
                self.changed.wait(&mut queue);
                continue;
            }
            for line in queue.lines.drain(..) {
                text.extend_from_slice(&line);
            }
            let dropped = std::mem::take(&mut queue.dropped);
            if dropped > 0 {
                let count = if dropped == 1 { "line was" } else { "lines were" };
                let told = writeln!(
                    text,
                    "namelock: {dropped} log {count} dropped: the log is not read as fast as it is written"
                );
                debug_assert!(told.is_ok(), "writing to memory does not fail");
            }
            // What is being written still takes its room, so that the queue bounds all of it.
            drop(queue);
            // A log that cannot be written is lost; there is nobody to tell.
            let _ = output.write_all(&text).and_then(|()| output.flush());
            text.clear();
            queue = self.queue.lock();
            queue.bytes = queue.lines.iter().map(Vec::len).sum();
        }
        queue.ended = true;
        drop(queue);
        self.changed.notify_all();
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        let until = Instant::now() + CLOSE_TIMEOUT;
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        self.shared.changed.notify_all();
        while !queue.ended && !self.shared.changed.wait_until(&mut queue, until).timed_out() {}
        let ended = queue.ended;
        drop(queue);
        // A thread that stands still at a full pipe ends with the process.
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe whose reader takes what it is told to take.
    struct Pipe {
        go: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(io::Error::other)?;
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it never happens");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    // Shows P6: a log that nobody reads stops nobody.
    #[test]
    fn lines_that_find_no_room_are_dropped_and_counted() {
        let (go, written) = (mpsc::channel(), Arc::new(Mutex::new(Vec::new())));
        let pipe = Pipe {
            go: go.1,
            written: Arc::clone(&written),
        };
        let (mut log, thread) = LogWriter::start(pipe, 10).unwrap();
        log.write_all(b"one\n").unwrap();
        // The thread has taken it and stands still at the pipe: its bytes still count.
        wait_until(|| log.shared.queue.lock().lines.is_empty());
        log.write_all(b"two\n").unwrap();
        log.write_all(b"three\n").unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(log.dropped(), 2);
        for _ in 0..2 {
            go.0.send(()).unwrap();
        }
        drop(thread);
        let text = String::from_utf8(written.lock().clone()).unwrap();
        assert_eq!(
            text,
            "one\ntwo\nnamelock: 2 log lines were dropped: the log is not read as fast as it is written\n"
        );
    }

    #[test]
    fn a_log_that_cannot_be_written_ends_nothing() {
        let (go, pipe) = mpsc::channel::<()>();
        drop(go);
        let pipe = Pipe {
            go: pipe,
            written: Arc::default(),
        };
        let (mut log, thread) = LogWriter::start(pipe, 10).unwrap();
        for _ in 0..100 {
            log.write_all(b"12345678\n").unwrap();
            wait_until(|| log.shared.queue.lock().bytes == 0);
        }
        assert_eq!(log.dropped(), 0);
        drop(thread);
    }

    #[test]
    fn the_end_does_not_wait_for_a_log_that_nobody_reads() {
        let (_go, pipe) = mpsc::channel::<()>();
        let pipe = Pipe {
            go: pipe,
            written: Arc::default(),
        };
        let (mut log, thread) = LogWriter::start(pipe, 10).unwrap();
        log.write_all(b"stuck\n").unwrap();
        drop(thread);
    }
}
