//! The limits of the engine, of the compiler and of a call, and what the sandbox knows of a tenant.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use namelock_account::Account;
use namelock_names::Quota;

use crate::feed::Feed;

/// The size of the one engine of this process.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// How many calls can run at once; a quarter more instances wait to give back the memory of calls that are gone.
    /// Address space is reserved for each, memory is not.
    pub instances: u32,
    /// The largest size of one memory of a guest in bytes, whatever a tenant's limit is.
    pub memory_max: usize,
    /// The stack of a guest, in bytes.
    pub stack: usize,
    /// How often a running guest is interrupted: the precision of its CPU time, and for how long it can keep a thread
    /// from others.
    pub tick: Duration,
    /// How many long-running calls may run at once; fewer than there are processors, so that short ones find one free.
    pub long_runs: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            instances: 1000,
            memory_max: 64 << 20,
            stack: 512 << 10,
            tick: Duration::from_millis(1),
            long_runs: std::thread::available_parallelism()
                .map_or(1, |processors| processors.get().saturating_sub(1).max(1)),
        }
    }
}

/// How components are compiled, and what compiling may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerConfig {
    /// This program, whose command `compile` runs in a child.
    pub program: PathBuf,
    /// Address space of a child, in bytes.
    pub memory: usize,
    /// CPU time of a child, which counts in whole seconds.
    pub cpu_time: Duration,
    /// Time from a child's start to its end.
    pub wall_time: Duration,
    /// Bytes of a compiled component.
    pub artifact: usize,
    /// How many children run at once.
    pub processes: usize,
    /// Where compiled components are kept.
    pub cache: CacheConfig,
}

/// Where compiled components are kept, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The directory, which only the user of the host may access.
    pub dir: PathBuf,
    /// How many compiled components it holds; the least recently used one is removed, unless this host uses it.
    pub files: usize,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Default for CompilerConfig {
    fn default() -> Self {
        Self {
            // The program that runs, even if its file was replaced by another version since.
            program: PathBuf::from("/proc/self/exe"),
            memory: 2 << 30,
            cpu_time: Duration::from_secs(60),
            wall_time: Duration::from_secs(180),
            artifact: 256 << 20,
            processes: 1,
            cache: CacheConfig {
                dir: PathBuf::from("namelock-cache"),
                files: 256,
                bytes: 4 << 30,
            },
        }
    }
}

/// What one call may use.
#[derive(Debug, Clone)]
pub struct CallLimits {
    /// Bytes of all its memories and tables together.
    pub memory: usize,
    /// How long it may run; waiting for a lock or the database does not count.
    pub cpu_time: Duration,
    /// Time from its beginning to its end.
    pub wall_time: Duration,
    /// Leases held at once.
    pub leases: usize,
    /// Calls of host functions, of all interfaces together.
    pub host_calls: u32,
    /// Bytes that one call of a host function may hand over.
    pub host_bytes: usize,
    /// Handles held at once: leases, streams, pollables.
    pub handles: usize,
    /// Random bytes asked for at once.
    pub random_bytes: u64,
    /// Attributes of one registration.
    pub attributes: usize,
    /// Bytes of all attributes of one registration.
    pub attribute_bytes: usize,
    /// What all registrations of the tenant may take in the names database, those of this call included.
    pub quota: Quota,
    /// Bytes that its standard output and error together take in the log; more is dropped.
    pub log_bytes: usize,
    /// Writes to the names database.
    pub writes: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            cpu_time: Duration::from_secs(1),
            wall_time: Duration::from_secs(5),
            leases: 8,
            host_calls: 10_000,
            host_bytes: 1 << 20,
            handles: 256,
            random_bytes: 64 << 10,
            attributes: 32,
            attribute_bytes: 4 << 10,
            quota: Quota::default(),
            log_bytes: 16 << 10,
            writes: 64,
        }
    }
}

/// What a tenant's component reads through `wasi:config/store`. Clones share what was read.
#[derive(Debug, Clone, Default)]
pub struct Settings(Arc<[Setting]>);

#[derive(Debug)]
struct Setting {
    key: String,
    value: String,
    was_read: AtomicBool,
}

impl Settings {
    /// Reads one; none: there is no such key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let setting = self.0.iter().find(|setting| setting.key == key)?;
        Some(setting.read().1)
    }

    /// Reads all, in their order.
    pub fn get_all(&self) -> Vec<(String, String)> {
        self.0.iter().map(Setting::read).collect()
    }

    /// All of them, which nobody has read by this.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let pair = |setting: &Setting| (setting.key.clone(), setting.value.clone());
        self.0.iter().map(pair).collect()
    }

    /// The keys that no call has read yet.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        let unread = self.0.iter().filter(|setting| !setting.was_read.load(Relaxed));
        unread.map(|setting| setting.key.as_str())
    }
}

impl Setting {
    fn read(&self) -> (String, String) {
        self.was_read.store(true, Relaxed);
        (self.key.clone(), self.value.clone())
    }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(all: T) -> Self {
        let all = all.into_iter().map(|(key, value)| Setting {
            key,
            value,
            was_read: AtomicBool::new(false),
        });
        Self(all.collect())
    }
}

/// What the sandbox knows of the tenant whose handler it runs.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The tenant's id, under which its names are saved and its output is logged.
    pub id: Arc<str>,
    /// The namespace of its locks: its id, or empty to interlock with the Python idiom.
    pub namespace: Arc<str>,
    /// For how long after a registration has ended or was freed only its last owner can take the name.
    pub hold: Duration,
    /// What its component reads through `wasi:config/store`.
    pub settings: Settings,
    /// What each of its calls may use.
    pub limits: CallLimits,
    /// Where everything is booked that it causes.
    pub account: Arc<Account>,
    /// Where whoever follows its log reads.
    pub feed: Arc<Feed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_no_call_has_read_is_known() {
        let all = [("a", "1"), ("b", "2"), ("c", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings: Settings = all.clone().into_iter().collect();
        assert_eq!(settings.unread().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((settings.get("b").as_deref(), settings.get("d")), (Some("2"), None));
        assert_eq!(settings.clone().unread().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(settings.get_all(), all);
        assert_eq!(settings.unread().count(), 0);
    }
}
