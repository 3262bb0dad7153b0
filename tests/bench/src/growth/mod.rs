//! Growth: what more names, more tenants and more lock servers cost.
//!
//! Each kind is measured at several sizes within one run, and the largest is compared with a small one. All registrations are
//! of the handler `rooms` with SQLite.

mod cache;
mod memcached;
mod names;
mod tenants;

use crate::contest::Entry;
use crate::host::Host;
use crate::load::Load;
use crate::pace::Pace;
use crate::report::Report;

pub(crate) const ID: &str = "growth";

/// How many connections register names at once.
const CONNECTIONS: usize = 64;

/// The process whose CPU time is compared.
const HOST: &str = "host";

pub(crate) async fn run(report: &mut Report, pace: Pace) -> anyhow::Result<()> {
    let row = report.row(ID, "Growth", "registrations");
    row.sizes = "how many".to_owned();
    names::measure(row, pace).await?;
    tenants::measure(row, pace).await?;
    memcached::measure(row, pace).await
}

/// A host with so many of what grows, and this load on it.
fn entry(peer: &'static str, size: usize, host: &Host, load: Load) -> Entry {
    Entry {
        peer,
        size,
        processes: vec![
            ("bench", std::process::id()),
            (HOST, host.process.id()),
            ("memcached", host.memcached.id()),
        ],
        contestant: Box::new(load),
    }
}
