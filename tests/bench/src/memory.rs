//! Memory of processes, as the kernel counts it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};

/// How often it is looked how much a process has.
const EVERY: Duration = Duration::from_millis(20);

/// How much of its memory a process has resident, in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Resident {
    /// All of it, with the pages of files that it has mapped.
    pub(crate) all: f64,
    /// What is its own, and no page of a file.
    pub(crate) own: f64,
}

/// How much a process has now.
pub(crate) fn resident(process: u32) -> anyhow::Result<Resident> {
    let path = PathBuf::from(format!("/proc/{process}/status"));
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&status)
}

fn parse(status: &str) -> anyhow::Result<Resident> {
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib: f64 = line
            .with_context(|| format!("no {key} in /proc/PID/status"))?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        anyhow::Ok(kib / 1024.0)
    };
    Ok(Resident {
        all: mib("VmRSS:")?,
        own: mib("RssAnon:")?,
    })
}

/// Looks again and again, on a thread of its own, what the most is that a process has.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<f64>>,
}

impl Watch {
    pub(crate) fn begin(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut most = 0_f64;
            while !stopped.load(Relaxed) {
                most = most.max(resident(process)?.all);
                thread::sleep(EVERY);
            }
            Ok(most)
        });
        Self { stop, thread }
    }

    /// Ends it, and tells the most, in MiB.
    pub(crate) fn end(self) -> anyhow::Result<f64> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("a thread has panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_all_of_it_and_what_is_its_own() {
        let status = "Name:\tnamelock\nVmRSS:\t    2048 kB\nRssAnon:\t     512 kB\nRssFile:\t    1536 kB\n";
        assert_eq!(parse(status).unwrap(), Resident { all: 2.0, own: 0.5 });
        assert!(parse("Name:\tnamelock\n").is_err());
    }

    #[test]
    fn the_most_is_no_less_than_what_there_is() {
        let watch = Watch::begin(std::process::id());
        thread::sleep(EVERY * 2);
        assert!(watch.end().unwrap() > 0.0);
        assert!(resident(std::process::id()).unwrap().own > 0.0);
    }
}
