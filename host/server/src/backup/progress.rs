//! How far an export or import is, on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often it is said, to a terminal and to a file.
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    did: &'static str,
    /// How many there will be, about.
    all: u64,
    began: Instant,
    said: Instant,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(did: &'static str, all: u64) -> Self {
        let now = Instant::now();
        Self {
            did,
            all,
            began: now,
            said: now,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says how many are done, now and then.
    pub(super) fn at(&mut self, done: u64) {
        let every = if self.terminal { TERMINAL_EVERY } else { LINE_EVERY };
        if self.said.elapsed() < every {
            return;
        }
        self.said = Instant::now();
        let of = match self.all {
            0 => String::new(),
            all => format!(" of {all}"),
        };
        let text = format!("{done}{of} names {} in {:.0} s", self.did, self.seconds());
        let (before, after) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // Whoever does not listen need not hear it.
        let _ = write!(std::io::stderr().lock(), "{before}{text}{after}");
    }

    /// Ends it, and returns how long it took.
    pub(super) fn end(self) -> f64 {
        if self.terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
        self.seconds()
    }

    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}
