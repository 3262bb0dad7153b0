//! Looks which locks are in memcached, again and again, past everything that breaks.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use namelock_test_servers::RawMemcached;

use crate::fleet::{Fleet, SERVERS, now_us};
use crate::history::Sighting;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);

/// How long a memcached may take to answer; one that stands still is looked at later.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks until it is told to stop.
#[derive(Debug)]
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Sighting>>,
}

impl Sampler {
    pub fn start(fleet: &Fleet) -> Self {
        let servers = (0..SERVERS).map(|server| fleet.memcached_address(server)).collect();
        let (stop, stopped) = channel();
        Self {
            stop,
            thread: thread::spawn(move || look(servers, &stopped)),
        }
    }

    /// Stops it, and tells what it has seen.
    pub fn stop(self) -> Vec<Sighting> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

fn look(servers: Vec<SocketAddr>, stopped: &Receiver<()>) -> Vec<Sighting> {
    let mut seen = Vec::new();
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        for (server, address) in servers.iter().enumerate() {
            // Before it is asked: what it tells was so then, or has come since.
            let at_us = now_us();
            let keys = keys(*address).into_iter();
            seen.extend(keys.map(|key| Sighting { at_us, server, key }));
        }
    }
    seen
}

fn keys(address: SocketAddr) -> Vec<String> {
    let Ok(mut raw) = RawMemcached::try_connect_within(address, PATIENCE) else {
        return Vec::new();
    };
    let mut keys = raw.lock_keys();
    keys.retain(|key| key.starts_with("namelock:"));
    keys
}
