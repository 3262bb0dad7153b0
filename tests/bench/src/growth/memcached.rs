//! More lock servers, each of which has some of the names.

use std::sync::Arc;

use namelock_test_artifacts::ROOMS;
use namelock_test_servers::Memcached;

use super::{CONNECTIONS, entry};
use crate::contest;
use crate::host::{Site, UNLIMITED};
use crate::load::Load;
use crate::pace::Pace;
use crate::report::Row;

const SERVERS: &str = "memcached servers";

/// How many there are.
const SIZES: [usize; 3] = [1, 2, 3];

pub(super) async fn measure(row: &mut Row, pace: Pace) -> anyhow::Result<()> {
    let component = std::fs::read(ROOMS)?;
    let (mut hosts, mut all_servers) = (Vec::new(), Vec::new());
    for size in SIZES {
        let servers: Vec<_> = (0..size).map(|_| Arc::new(Memcached::as_recommended())).collect();
        let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
        let url = format!("memcached://{}", addresses.join(","));
        let site = Site::on(Arc::clone(&servers[0]), "")?.with_locks_at(url);
        site.add("rooms", &component, UNLIMITED)?;
        let host = site.start()?;
        host.grants("rooms").await?;
        hosts.push(host);
        all_servers.push(servers);
    }
    let mut entries = Vec::new();
    for (host, servers) in hosts.iter().zip(&all_servers) {
        let load = Load::closed_loop(host.address, "/v1/rooms/names", CONNECTIONS)?;
        let mut entry = entry(SERVERS, servers.len(), host, load);
        // The first is there already.
        entry
            .processes
            .extend(servers[1..].iter().map(|server| ("memcached", server.id())));
        entries.push(entry);
    }
    row.measurements.extend(contest::alternate(pace, entries).await?);
    Ok(())
}
