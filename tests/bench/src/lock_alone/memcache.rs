//! The crate `memcache` by itself, one exchange for each operation: add if absent, and delete what is ours by its CAS.
//!
//! It is the bare client: a thread with a connection of its own, and nothing between it and the socket.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use async_trait::async_trait;
use memcache::exp::{DeleteOptions, MetaConnection, SetMode, SetOptions, build_delete, build_set, parse_meta_result};
use namelock_lock::LockKey;

use super::EXPIRY_SECONDS;
use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::cycles::NAMESPACE;

/// Threads, each with a connection of its own.
pub(super) struct Threads(Vec<MetaConnection>);

impl Threads {
    pub(super) fn connect(address: SocketAddr, threads: usize) -> anyhow::Result<Self> {
        let connections: Result<_, _> = (0..threads).map(|_| MetaConnection::connect(address)).collect();
        Ok(Self(connections.context("cannot connect to memcached")?))
    }
}

#[async_trait]
impl Contestant for Threads {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        tokio::task::block_in_place(|| {
            let begin = Instant::now();
            let times: anyhow::Result<Vec<_>> = thread::scope(|scope| {
                let threads: Vec<_> = self
                    .0
                    .iter_mut()
                    .enumerate()
                    .map(|(caller, connection)| scope.spawn(move || cycles(connection, caller, begin + time)))
                    .collect();
                let end = |thread: thread::ScopedJoinHandle<'_, _>| {
                    thread.join().map_err(|_| anyhow!("a thread has panicked"))?
                };
                threads.into_iter().map(end).collect()
            });
            Ok(Work::new(times?.concat(), begin.elapsed()))
        })
    }
}

fn cycles(connection: &mut MetaConnection, caller: usize, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let begin = Instant::now();
        let name = format!("{caller} {}", times.len());
        cycle(connection, &name)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn cycle(connection: &mut MetaConnection, name: &str) -> anyhow::Result<()> {
    let key = LockKey::new(NAMESPACE, name)?;
    let mut add = SetOptions::default();
    add.mode = SetMode::Add;
    add.ttl = Some(EXPIRY_SECONDS);
    add.return_cas = true;
    let added = parse_meta_result(connection.execute(&build_set(key.as_str(), "1", &add)?)?)?;
    ensure!(added.ok(), "{name} is locked");
    let mut delete = DeleteOptions::default();
    delete.compare_cas = added.cas;
    let deleted = parse_meta_result(connection.execute(&build_delete(key.as_str(), &delete)?)?)?;
    ensure!(deleted.ok(), "the lock on {name} was lost");
    Ok(())
}
