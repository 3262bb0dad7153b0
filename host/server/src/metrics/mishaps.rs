//! What has gone wrong with a memcached or with the names database: what alerts are made of.
//!
//! Each of these also has a line in the log, which says more; here it is a number that a rule can ask for.

use std::fmt;

use namelock_lock::figures::ServerFigures;
use namelock_lock::mishaps::Mishaps;
use namelock_names::Figures;

use super::write::{About, Labels, Writer};

/// Those of each memcached.
pub(super) fn write_servers(writer: &mut Writer<'_>, servers: &[ServerFigures]) -> fmt::Result {
    let about = About::count(
        "memcached_losses",
        "How often the leases of a memcached were lost, by reason.",
    );
    let losses = servers.iter().flat_map(|server| {
        let losses = server.mishaps.losses.iter();
        losses.map(|(loss, count)| (vec![("server", &*server.server), ("reason", loss.label())], *count))
    });
    writer.counter(about, losses)?;
    let of_each = |value: fn(&Mishaps) -> u64| {
        servers
            .iter()
            .map(move |server| (vec![("server", &*server.server)], value(&server.mishaps)))
    };
    let about = About::count(
        "memcached_stalls",
        "How often a memcached stood still for so long that what it stores is not trusted.",
    );
    writer.counter(about, of_each(|mishaps| mishaps.stalls))?;
    let about = About::count(
        "memcached_evicted",
        "Items that a memcached has evicted, which may include locks.",
    );
    writer.counter(about, of_each(|mishaps| mishaps.evicted))?;
    let about = About::count(
        "memcached_out_of_memory",
        "Commands that a memcached had no memory for.",
    );
    writer.counter(about, of_each(|mishaps| mishaps.out_of_memory))?;
    let about = About::seconds(
        "memcached_epoch_ahead",
        "How far the epoch of a memcached is ahead of database time; 0 where it is not.",
    );
    writer.gauge(
        about,
        servers.iter().map(|server| {
            let ahead = server.mishaps.epoch_ahead.as_secs_f64();
            (vec![("server", &*server.server)], ahead)
        }),
    )?;
    let about = About::count(
        "memcached_agrees",
        "Whether what a memcached says holds for the fleet agrees with the settings of this host.",
    );
    writer.gauge(about, of_each(|mishaps| u64::from(mishaps.agrees)))
}

/// Those of the names database.
pub(super) fn write_names(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    let about = About::count(
        "names_writes_overdue",
        "Writes that PostgreSQL should have answered and has not.",
    );
    writer.level(about, figures.writes_overdue)?;
    let about = About::count(
        "names_writes_unanswered",
        "Writes that PostgreSQL did not answer within names.timeout.",
    );
    writer.counter(about, [(Labels::new(), figures.writes_unanswered)])?;
    let about = About::count(
        "names_lacks_standby",
        "Whether names.url names several servers, but commits of the primary wait for no standby.",
    );
    writer.level(about, usize::from(figures.lacks_standby))?;
    let about = About::count(
        "names_purge_fails",
        "Whether rows whose retention is over could not be deleted when that was last tried.",
    );
    writer.level(about, usize::from(figures.purge_fails))?;
    let about = About::seconds(
        "clock_jumped",
        "By how much database time jumped when this host began, because nobody was known to have kept it.",
    );
    writer.gauge(about, [(Labels::new(), figures.time_jumped.as_secs_f64())])?;
    let Some(age) = figures.time_age else {
        return Ok(());
    };
    let about = About::seconds(
        "clock_age",
        "Time since database time was last compared with what PostgreSQL keeps.",
    );
    writer.gauge(about, [(Labels::new(), age.as_secs_f64())])
}
