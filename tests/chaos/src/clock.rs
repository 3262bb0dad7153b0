//! A clock that steps while the program that reads it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::fleet::now_us;

const SECOND_US: i64 = 1_000_000;

/// How long after a step a program may still read the clock of before: libfaketime looks once a second.
const NOTICED_US: i64 = 2 * SECOND_US;

/// How long after it was written a line of a log is read at most; a line that took longer is not understood.
const LATE_MAX_US: i64 = 15 * SECOND_US;

/// The wall clock of one program, and nothing else of its time: no machine's monotonic clock steps.
#[derive(Debug)]
pub struct Clock {
    /// Where libfaketime reads by how much it is off.
    file: PathBuf,
    /// Since when it was off by how many seconds, the latest last.
    steps: Mutex<Vec<(i64, i64)>>,
}

impl Clock {
    /// Makes a clock that is right, with a file in `folder`, which everybody has to be able to read.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let clock = Self {
            file: folder.join("clock"),
            steps: Mutex::default(),
        };
        clock.step(0)?;
        Ok(clock)
    }

    /// Sets the clock so many seconds ahead of the right time, or behind it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn step(&self, off: i64) -> anyhow::Result<()> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push((now_us(), off));
        Ok(put(&self.file, &format!("{off:+}"))?)
    }

    /// What the environment of a program needs for it to have this clock.
    ///
    /// # Errors
    ///
    /// When libfaketime is missing.
    pub fn environment(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("LD_PRELOAD", faketime()?.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ])
    }

    /// Turns the time that a line says it was written at into the right time. None: more than one is possible.
    pub fn right(&self, written_us: i64, read_us: i64) -> Option<i64> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (at, (since, off)) in steps.iter().enumerate() {
            let until = steps.get(at + 1).map_or(i64::MAX, |(next, _)| next + NOTICED_US);
            let right = written_us - off * SECOND_US;
            let in_force = *since <= right && right <= until;
            let late = read_us - right;
            if in_force && (-1000..=LATE_MAX_US).contains(&late) && !found.contains(&right) {
                found.push(right);
            }
        }
        match found.as_slice() {
            [right] => Some(*right),
            _ => None,
        }
    }
}

/// How often a clock that stands still is set back to where it stood.
const SET_BACK: Duration = Duration::from_millis(20);

/// The clock of a memcached: its monotonic one, which can stand still.
#[derive(Debug)]
pub struct ServerClock {
    /// Where libfaketime reads by how much it is off, each time.
    file: PathBuf,
    standing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl ServerClock {
    /// Makes a clock that goes, with this file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn new(file: PathBuf) -> anyhow::Result<Self> {
        put(&file, "+0")?;
        Ok(Self {
            file,
            standing: Mutex::default(),
        })
    }

    /// Where to read by how much it is off.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Lets it stand still until it goes on.
    pub fn stand_still(&self) {
        let (stop, stopped) = channel();
        let (file, begin) = (self.file.clone(), Instant::now());
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(SET_BACK) == Err(RecvTimeoutError::Timeout) {
                // What fails is seen: the clock goes on.
                let _ = put(&file, &format!("-{:.3}", begin.elapsed().as_secs_f64()));
            }
            let _ = put(&file, "+0");
        });
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        *standing = Some((stop, thread));
    }

    /// Sets it right.
    pub fn go_on(&self) {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = standing {
            drop(stop);
            // It does not panic.
            let _ = thread.join();
        }
    }
}

impl Drop for ServerClock {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// Writes the file of a clock so that whoever reads it finds the old text or the new one.
fn put(file: &Path, text: &str) -> std::io::Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{text}\n"))?;
    fs::rename(&fresh, file)
}

/// The library that gives a program another clock.
fn faketime() -> anyhow::Result<PathBuf> {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let found = places
        .iter()
        .map(|place| Path::new(place).join("faketime/libfaketime.so.1"));
    found
        .into_iter()
        .find(|path| path.exists())
        .context("libfaketime is missing: install faketime")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(steps: &[(i64, i64)]) -> Clock {
        let steps = steps.iter().map(|(since, off)| (since * SECOND_US, *off)).collect();
        Clock {
            file: PathBuf::new(),
            steps: Mutex::new(steps),
        }
    }

    fn right(steps: &[(i64, i64)], written: i64, read: i64) -> Option<i64> {
        let right = clock(steps).right(written * SECOND_US, read * SECOND_US);
        right.map(|right| right / SECOND_US)
    }

    #[test]
    fn a_time_is_put_right_by_the_step_that_it_was_written_after() {
        let steps = [(0, 0), (100, 3600), (110, 0)];
        assert_eq!(right(&steps, 99, 99), Some(99));
        assert_eq!(right(&steps, 105 + 3600, 105), Some(105));
        assert_eq!(right(&steps, 111 + 3600, 111), Some(111), "it had not noticed yet");
        assert_eq!(right(&steps, 105, 105), None, "the clock was an hour ahead by then");
        assert_eq!(right(&steps, 50, 90), None, "so late is no line read");
    }

    #[test]
    fn a_time_that_may_be_either_is_left_out() {
        let steps = [(0, 0), (100, 3)];
        assert_eq!(right(&steps, 101, 101), Some(101));
        assert_eq!(right(&steps, 102, 103), Some(102));
        let back = [(0, 0), (100, -1), (200, 0)];
        assert_eq!(right(&back, 100, 102), None, "at 100 by the clock of before, or at 101");
    }
}
