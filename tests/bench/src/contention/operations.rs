//! Counts what memcached is asked.
//!
//! Its `stats` do not tell: memcached 1.6.18 counts `mg` among the gets, `ms` among the sets and `md` among the deletes, but
//! of the adds of the lock (`ma`) only those that created an item, and no `mn`. What it writes with `-vv` has all of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use namelock_test_servers::Memcached;
use tempfile::TempDir;

use super::callers::Callers;
use crate::contest::Contestant;
use crate::waiting::commands;

/// A memcached that writes down what it is sent.
pub(super) struct Counter {
    pub(super) memcached: Memcached,
    folder: TempDir,
}

impl Counter {
    pub(super) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            memcached: Memcached::with_log(&log(&folder)),
            folder,
        })
    }

    /// Lets callers of this memcached work for some time, and tells how many commands there were for each grant, with those by
    /// which hosts watch the server.
    pub(super) async fn for_each_grant(&self, callers: &mut Callers, time: Duration) -> anyhow::Result<f64> {
        let mut log = File::open(log(&self.folder))?;
        log.seek(SeekFrom::End(0))?;
        let work = callers.work(time).await?;
        let mut written = Vec::new();
        log.read_to_end(&mut written)?;
        Ok(commands(&String::from_utf8_lossy(&written)) as f64 / work.times.len() as f64)
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("memcached.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_command_is_counted_also_one_that_is_refused() {
        let counter = Counter::start().unwrap();
        let before = std::fs::read_to_string(log(&counter.folder)).unwrap();
        let mut raw = counter.memcached.raw();
        for (command, reply) in [
            ("ma a N13 J1 D0 C18446744073709551615 c", "HD c1"),
            ("ma a N13 J2 D0 C18446744073709551615 c", "EX"),
            ("mg b v", "EN"),
            ("md a", "HD"),
            ("mn", "MN"),
        ] {
            assert_eq!(raw.command(command), reply, "{command}");
        }
        let log = std::fs::read_to_string(log(&counter.folder)).unwrap();
        assert_eq!(commands(&log[before.len()..]), 5);
    }
}
