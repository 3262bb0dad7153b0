//! The settings of the host. To add one, add a field to the struct that uses it and an entry to [`HOST`].

use std::ops::RangeInclusive;

use super::limits;
use super::setting::{Entry, Reached, Setting};
use super::types::Config;
use super::units::{DAY, GIB, HOUR, KIB, MIB, MINUTE, SECOND};
use crate::error::ErrorKind::{
    HandlerTrapped, InvalidRequest, LeaseLost, LockUnavailable, NameBusy, NamesUnavailable, Overloaded,
    PayloadTooLarge, TenantUnavailable,
};

/// How many bytes the stack of a guest can have.
pub const STACK_BYTES: RangeInclusive<u64> = 64 * KIB..=8 * MIB;

/// The tokens of operators, which are read again while the host runs.
pub(super) const ADMIN_TOKENS: &str = "admin.tokens";

type Host = Setting<Config>;

/// The settings of the host, in the order of the documents.
pub(super) const HOST: &[Host] = &[
    Host::text("http.listen", |c| (&mut c.http.listen).into())
        .says("The address of the public listener")
        .flag("listen", |flags| flags.listen.clone()),
    Host::text("http.tls_certificate", |c| (&mut c.http.tls.certificate).into())
        .says("Its certificate and those between it and the authority's, in PEM; read again when it changes")
        .absent("/etc/namelock/public.crt", "the listener has no TLS, and no HTTP/2"),
    Host::text("http.tls_key", |c| (&mut c.http.tls.key).into())
        .says("The private key of this certificate, in PEM")
        .absent("/etc/namelock/public.key", "the listener has no TLS"),
    Host::switch("http.open", |c| (&mut c.http.open).into())
        .says("Whether to listen beyond loopback even if a tenant has no tokens")
        .flag("open", |flags| flags.open.then(|| "true".into())),
    Host::size("http.header_bytes", 8 * KIB, MIB, |c| (&mut c.http.header_bytes).into())
        .says("Head of a request")
        .limit(Reached::Status(431), "callers::a_head_that_is_too_long_is_refused"),
    Host::count("http.headers", 16, 1000, |c| (&mut c.http.headers).into())
        .says("Header lines of a request")
        .limit(Reached::Status(431), "callers::a_head_that_is_too_long_is_refused"),
    Host::count("http.streams", 1, 10_000, |c| (&mut c.http.streams).into())
        .says("Requests of one HTTP/2 connection at once")
        .limit(Reached::Waits, "tls::a_connection_has_no_more_streams_than_it_may"),
    Host::count("http.resets", 1, 1_000_000, |c| (&mut c.http.resets).into())
        .says("Requests of one HTTP/2 connection in a second that its client gives up")
        .limit(
            Reached::Closed,
            "attacks::who_resets_streams_as_fast_as_they_begin_loses_the_connection",
        ),
    Host::size("http.body", KIB, 16 * MIB, |c| (&mut c.http.body).into())
        .says("Body of a request")
        .limit(
            Reached::Code(PayloadTooLarge),
            "callers::a_body_that_is_too_long_is_not_read",
        ),
    Host::time("http.body_timeout", 1, 10 * MINUTE, |c| {
        (&mut c.http.body_timeout).into()
    })
    .says("How long a body may take to arrive")
    .limit(
        Reached::Code(InvalidRequest),
        "callers::a_body_that_trickles_is_refused_in_time",
    ),
    Host::time("http.first_head_timeout", 1, 10 * MINUTE, |c| {
        (&mut c.http.first_head_timeout).into()
    })
    .says("How long the first head of a connection may take to arrive")
    .limit(Reached::Closed, "callers::silent_connections_keep_nobody_out"),
    Host::time("http.header_timeout", 1, 10 * MINUTE, |c| {
        (&mut c.http.header_timeout).into()
    })
    .says("How long a head may take to arrive, and a connection may be idle")
    .limit(Reached::Closed, "callers::a_head_that_trickles_is_cut_off"),
    Host::time("http.write_timeout", 1, 10 * MINUTE, |c| {
        (&mut c.http.write_timeout).into()
    })
    .says("How long a client may leave an answer unread")
    .limit(Reached::Closed, "connections::a_peer_that_takes_no_answer_is_cut_off"),
    Host::count("http.connections", 1, 1_000_000, |c| (&mut c.http.connections).into())
        .says(
            "Open connections; one address has no more of them than are free, and the one that is idle for longest makes \
             room",
        )
        .limit(
            Reached::Waits,
            "connections::a_connection_beyond_the_limit_waits_for_a_slot",
        ),
    Host::count("http.replaced", 1, 1_000_000, |c| (&mut c.http.replaced).into())
        .says("Connections of one address in a second that an idle one of its own makes room for")
        .limit(
            Reached::Closed,
            "room::an_address_at_its_share_has_no_more_replaced_than_it_may",
        ),
    Host::count("http.calls", 1, 100_000, |c| (&mut c.http.calls).into())
        .says("Calls that run at once, of all tenants; one tenant has no more of them than are free")
        .limit(Reached::Code(Overloaded), "admission::a_host_that_is_full_refuses"),
    Host::count("http.calls_waiting", 0, 1_000_000, |c| {
        (&mut c.http.calls_waiting).into()
    })
    .says("Calls that wait for the host")
    .limit(Reached::Code(Overloaded), "admission::a_host_that_is_full_refuses"),
    Host::time("http.calls_wait", 0, MINUTE, |c| (&mut c.http.calls_wait).into())
        .says("How long a waiting call waits for the host")
        .limit(Reached::Code(Overloaded), "admission::a_host_that_is_full_refuses"),
    Host::time("http.lame_duck", 0, 10 * MINUTE, |c| (&mut c.http.lame_duck).into())
        .says("How long everything is served after SIGTERM, while `/readyz` says that the host is stopping; a second signal ends it"),
    Host::time("http.drain", 0, 10 * MINUTE, |c| (&mut c.http.drain).into())
        .says("How long running requests may go on when the host does not serve any more")
        .limit(Reached::Closed, "connections::a_drain_has_an_end"),
    Host::text("admin.listen", |c| (&mut c.admin.listen).into())
        .says("The address of the admin listener")
        .flag("admin", |flags| flags.admin.clone()),
    Host::text("admin.tls_certificate", |c| (&mut c.admin.tls.certificate).into())
        .says("Its certificate and those between it and the authority's, in PEM; read again when it changes")
        .absent("/etc/namelock/admin.crt", "the listener has no TLS"),
    Host::text("admin.tls_key", |c| (&mut c.admin.tls.key).into())
        .says("The private key of this certificate, in PEM")
        .absent("/etc/namelock/admin.key", "the listener has no TLS"),
    Host::text("admin.tls_client_roots", |c| (&mut c.admin.tls.client_roots).into())
        .says("The authorities whose certificates operators may show instead of a token, in PEM")
        .absent("/etc/namelock/operators.crt", "operators show no certificates"),
    Host::rights("admin.tls_client_rights", |c| (&mut c.admin.client_rights).into())
        .says("What operators may do who show such a certificate: some of read, names and write"),
    Host::switch("admin.open", |c| (&mut c.admin.open).into())
        .says("Whether it may listen beyond loopback even if there are no tokens")
        .flag("admin-open", |flags| flags.admin_open.then(|| "true".into())),
    Host::tokens(ADMIN_TOKENS, |c| (&mut c.admin.tokens).into())
        .says("Who may use it, as `namelock token new --admin` prints it in sections [[admin.tokens]], read again at SIGHUP; none: whoever reaches it"),
    Host::hosts("admin.hosts", |c| (&mut c.admin.hosts).into())
        .says("Names by which a browser may ask the admin listener where it has no TLS, beside its address and localhost"),
    Host::text("lock.url", |c| (&mut c.lock_url).into())
        .says("The lock service: memory: or memcached://[user:password@]host:port[,host:port…], memcacheds:// over TLS")
        .flag("lock", |flags| flags.lock.clone()),
    Host::text("lock.previous", |c| (&mut c.lock.previous).into())
        .says("The list of memcached servers that other hosts may still have, while it is changed")
        .absent("memcached://10.0.0.5:11211", "the list is not being changed"),
    Host::text("lock.ca", |c| (&mut c.lock.tls.ca).into())
        .says("memcacheds: file of the certificates (PEM) that may have signed the servers'; read again for each connection")
        .absent("memcached-ca.pem", "those that this machine trusts"),
    Host::text("lock.certificate", |c| (&mut c.lock.tls.certificate).into())
        .says("memcacheds: file of this host's certificate (PEM), for servers that ask for one; read again for each connection")
        .absent("namelock.pem", "this host shows none"),
    Host::text("lock.key", |c| (&mut c.lock.tls.key).into())
        .says("memcacheds: file of the key (PEM) of that certificate")
        .absent("namelock.key", "this host shows none"),
    Host::time("lock.lease", 100, DAY, |c| (&mut c.lock.lease).into())
        .says("How long a lease is trusted, unless its handler renews it")
        .limit(Reached::Code(LeaseLost), "guests::sleep_holding_lease"),
    Host::time("lock.max_hold", 100, DAY, |c| (&mut c.lock.max_hold).into())
        .says("How long a lease can be held, however often it is renewed")
        .limit(Reached::Code(LeaseLost), "guests::renew_for_ever"),
    Host::time("lock.restart_grace", 100, DAY, |c| (&mut c.lock.restart_grace).into())
        .says("How long nothing is granted after memcached has forgotten its locks; at least lock.lease")
        .absent("10s", "as long as lock.lease, and at least 10s with lock.shared_namespace"),
    Host::time("lock.watch_every", 100, HOUR, |c| (&mut c.lock.watch_every).into())
        .says("How often memcached is asked whether it evicts"),
    Host::time("lock.max_wait", 0, 10 * MINUTE, |c| (&mut c.lock.max_wait).into())
        .says("How long one acquire waits at most, whatever its handler asks for")
        .limit(Reached::Code(NameBusy), "suite::no_caller_waits_longer_than_max_wait"),
    Host::count("lock.waiters", 1, 10_000_000, |c| (&mut c.lock.waiters).into())
        .says("Callers that wait for a lock, of all tenants")
        .limit(
            Reached::Code(LockUnavailable),
            "local_queue::waiters_over_the_limit_are_refused",
        ),
    Host::count("lock.lanes", 1, 64, |c| (&mut c.lock.lanes).into())
        .says("Connections to each memcached, not counting one that watches it"),
    Host::count("lock.queue", 1, 1_000_000, |c| (&mut c.lock.queue).into())
        .says("Operations that queue for a connection to memcached")
        .limit(
            Reached::Code(LockUnavailable),
            "memcached::a_full_queue_refuses_at_once",
        ),
    Host::count("lock.batch", 1, 4096, |c| (&mut c.lock.batch).into())
        .says("Operations that are sent to memcached at once"),
    Host::time("lock.connect_timeout", 1, MINUTE, |c| {
        (&mut c.lock.connect_timeout).into()
    })
    .says("How long connecting to memcached may take"),
    Host::time("lock.exchange_timeout", 1, MINUTE, |c| {
        (&mut c.lock.exchange_timeout).into()
    })
    .says("How long memcached may take to answer; a slower one is treated as down"),
    Host::time("lock.backoff_min", 1, MINUTE, |c| (&mut c.lock.backoff_min).into())
        .says("Pause after the first failed attempt to connect; it doubles each time"),
    Host::time("lock.backoff_max", 1, MINUTE, |c| (&mut c.lock.backoff_max).into())
        .says("Longest pause between attempts to connect"),
    Host::count("lock.reaper_queue", 1, 10_000_000, |c| {
        (&mut c.lock.reaper_queue).into()
    })
    .says("Leases of ended calls that are still to be released")
    .limit(
        Reached::Expires,
        "locks::a_release_over_the_reaper_queue_limit_is_left_to_expire",
    ),
    Host::count("lock.memory_locks", 1, 1_000_000_000, |c| {
        (&mut c.lock.memory_locks).into()
    })
    .says("Locks that memory: holds")
    .limit(
        Reached::Code(LockUnavailable),
        "memory::a_full_table_refuses_until_a_lock_expires",
    ),
    Host::tenants("lock.shared_namespace", |c| (&mut c.shared_namespace).into()).says(
        "The tenants that may use the empty namespace, and so share locks with each other and with Python programs",
    ),
    Host::text("names.url", |c| (&mut c.names_url).into())
        .says("The names database: sqlite:PATH or postgres://user@host/database; of a PostgreSQL that fails over, user@host1,host2/database")
        .flag("names", |flags| flags.names.clone()),
    Host::count("names.queue", 1, 1_000_000, |c| (&mut c.names.queue).into())
        .says("Reads that wait for the database, and as many writes; a tenant: as there is room left")
        .limit(Reached::Code(NamesUnavailable), "sqlite::a_full_queue_refuses_at_once"),
    Host::count("names.batch", 1, 4096, |c| (&mut c.names.batch).into()).says("Writes that are committed together: in SQLite of all tenants, in PostgreSQL of one, and as many of its reads"),
    Host::count("names.readers", 1, 64, |c| (&mut c.names.readers).into()).says("SQLite: reads at once"),
    Host::time("names.busy_timeout", 1, MINUTE, |c| (&mut c.names.busy_timeout).into())
        .says("SQLite: how long a write waits for another process that has the file locked; opening it, ten times as long")
        .limit(
            Reached::Code(NamesUnavailable),
            "sqlite::a_locked_file_is_refused_in_time_and_used_again_when_it_is_free",
        ),
    Host::count("names.connections", 1, 1000, |c| (&mut c.names.connections).into())
        .says("PostgreSQL: connections at most, all but a quarter of them for writes"),
    Host::time("names.connect_timeout", 1, MINUTE, |c| {
        (&mut c.names.connect_timeout).into()
    })
    .says("PostgreSQL: how long connecting to a server may take; of several, the next is tried after a quarter of it"),
    Host::time("names.timeout", 1, MINUTE, |c| (&mut c.names.timeout).into())
        .says("PostgreSQL: how long a read or write may take, with the wait for a connection")
        .limit(
            Reached::Code(NamesUnavailable),
            "postgres::a_row_that_somebody_holds_is_not_waited_for_longer_than_the_deadline",
        ),
    Host::text("names.tls_roots", |c| (&mut c.names.tls_roots).into())
        .says("PostgreSQL: file of the certificates (PEM) that may have signed the server's")
        .absent("ca.pem", "those that this machine trusts"),
    Host::time("names.retention", SECOND, 7 * DAY, |c| (&mut c.names.retention).into())
        .says("How long the fencing token of a name that nobody has is remembered"),
    Host::time("names.hold_max", 0, 366 * DAY, |c| (&mut c.names.hold_max).into())
        .says("The longest `hold_ms` of a tenant; rows are kept for as long, too"),
    Host::count("names.page_rows_max", 1001, 1_000_000, |c| (&mut c.names.page_rows_max).into())
        .says("Rows that are read for one page of a list, ended registrations too; a page that needs more is shorter"),
    Host::size("names.page_bytes_max", KIB, 64 * MIB, |c| (&mut c.names.page_bytes_max).into())
        .says("Attributes on one page of a list, beyond its first registration; a page that has more is shorter"),
    Host::size("limits.stack", *STACK_BYTES.start(), *STACK_BYTES.end(), |c| (&mut c.stack).into())
        .says("Stack of a guest; one size for all tenants, so not in a tenant.toml")
        .limit(Reached::Code(HandlerTrapped), "guests::recurse"),
    Host::size("compiler.memory", 64 * MIB, 64 * GIB, |c| {
        (&mut c.compiler.memory).into()
    })
    .says("Address space of a compiler")
    .limit(
        Reached::Code(TenantUnavailable),
        "reload::a_compile_bomb_costs_its_tenant_alone",
    ),
    Host::time("compiler.cpu_time", SECOND, HOUR, |c| (&mut c.compiler.cpu_time).into())
        .says("CPU time of a compiler, in whole seconds")
        .limit(
            Reached::Code(TenantUnavailable),
            "reload::a_compile_bomb_costs_its_tenant_alone",
        ),
    Host::time("compiler.wall_time", SECOND, HOUR, |c| {
        (&mut c.compiler.wall_time).into()
    })
    .says("Time from the start of a compiler to its end")
    .limit(
        Reached::Code(TenantUnavailable),
        "compiler::a_child_that_takes_too_long_is_killed",
    ),
    Host::size("compiler.artifact", MIB, 4 * GIB, |c| (&mut c.compiler.artifact).into())
        .says("What a component is compiled to")
        .limit(
            Reached::Code(TenantUnavailable),
            "compiler::however_a_child_ends_the_error_says_how",
        ),
    Host::count("compiler.processes", 1, 64, |c| (&mut c.compiler.processes).into())
        .says("Compilers at once")
        .limit(Reached::Waits, "compiler::one_child_waits_for_another"),
    Host::text("compiler.cache", |c| (&mut c.compiler.cache.dir).into())
        .says("The directory of compiled components, which only the host's user may enter")
        .flag("cache", |flags| flags.cache.clone()),
    Host::count("compiler.cache_files", 1, 100_000, |c| {
        (&mut c.compiler.cache.files).into()
    })
    .says("Compiled components that are kept; the least recently used is removed, unless this host uses it")
    .limit(Reached::Dropped, "cache::the_least_recently_used_entry_is_removed"),
    Host::size("compiler.cache_bytes", MIB, 1024 * GIB, |c| {
        (&mut c.compiler.cache.bytes).into()
    })
    .says("What all of them take; those that this host uses stay, even if they take more")
    .limit(Reached::Dropped, "cache::the_bytes_of_all_entries_are_bounded"),
    Host::text("tenants.dir", |c| (&mut c.tenants).into())
        .says("The directory of tenants")
        .flag("tenants", |flags| flags.tenants.clone()),
    Host::time("tenants.wait", 0, HOUR, |c| (&mut c.tenants_wait).into())
        .says("How long the start waits for components that take long to compile"),
    Host::switch("tenants.watch", |c| (&mut c.tenants_watch).into())
        .says("Whether a change in the directory is served by itself, half a second later, and not only after SIGHUP"),
    Host::text("oci.dir", |c| (&mut c.oci.dir).into())
        .says("The directory of components that were pulled; a registry is not asked for what is in it"),
    Host::size("oci.bytes", MIB, 1024 * GIB, |c| (&mut c.oci.bytes).into())
        .says("What all of them take; those that a tenant has stay, even if they take more")
        .limit(Reached::Dropped, "cache::the_least_recently_used_go_that_no_tenant_has"),
    Host::text("oci.roots", |c| (&mut c.oci.roots).into())
        .says("File of certificates (PEM) that may have signed those of registries, beside those that this machine trusts; read again for each pull")
        .absent("registry-ca.pem", "those that this machine trusts, alone"),
    Host::time("oci.connect_timeout", 1, MINUTE, |c| (&mut c.oci.connect_timeout).into())
        .says("How long connecting to a registry may take")
        .limit(Reached::Code(TenantUnavailable), "hostile::what_stalls_or_drips_has_an_end"),
    Host::time("oci.read_timeout", 1, 10 * MINUTE, |c| (&mut c.oci.read_timeout).into())
        .says("How long a registry may send nothing, and a credential helper may take")
        .limit(Reached::Code(TenantUnavailable), "hostile::what_stalls_or_drips_has_an_end"),
    Host::time("oci.timeout", 1, HOUR, |c| (&mut c.oci.timeout).into())
        .says("How long a pull may take as a whole")
        .limit(Reached::Code(TenantUnavailable), "hostile::what_stalls_or_drips_has_an_end"),
    Host::count("oci.pulls", 1, 64, |c| (&mut c.oci.pulls).into())
        .says("Pulls at once; of one registry half of them")
        .limit(Reached::Waits, "pulls::one_registry_leaves_room_for_another"),
    Host::text("versions.dir", |c| (&mut c.versions.dir).into())
        .says("The directory of the versions of components that were served"),
    Host::count("versions.keep", 0, 100, |c| (&mut c.versions.keep).into())
        .says("Versions that are kept of a tenant, with the one that is served; 0: none, and there is no way back")
        .limit(Reached::Dropped, "versions::as_many_are_kept_as_the_host_says_and_the_last_good_one_stays"),
    Host::text("record.dir", |c| (&mut c.record.dir).into())
        .says("The directory of recordings, one below it for each tenant")
        .absent("recordings", "nothing is recorded"),
    Host::switch("record.owners", |c| (&mut c.record.owners).into()).says(
        "Whether owners and attributes are recorded as callers send them; otherwise pseudonyms stand for them",
    ),
    Host::size("record.size", 4 * KIB, 16 * MIB, |c| (&mut c.record.size).into())
        .says("One recording, also in memory while its call runs")
        .limit(Reached::Dropped, "replay::bounds_of_recordings_hold"),
    Host::count("record.rate", 1, 1000, |c| (&mut c.record.rate).into())
        .says("Recordings of a tenant in a second; ten times as many at once after a pause")
        .limit(
            Reached::Dropped,
            "recordings::a_tenant_that_always_fails_is_recorded_now_and_then",
        ),
    Host::count("record.files", 1, 100_000, |c| (&mut c.record.files).into())
        .says("Recordings that are kept of a tenant; the oldest is removed")
        .limit(Reached::Dropped, "directory::the_oldest_of_too_many_recordings_goes"),
    Host::size("record.bytes", 4 * KIB, 64 * GIB, |c| (&mut c.record.bytes).into())
        .says("What all of these take; the oldest is removed")
        .limit(Reached::Dropped, "directory::the_oldest_goes_until_the_bytes_suffice"),
    Host::time("record.age", MINUTE, 366 * DAY, |c| (&mut c.record.age).into())
        .says("How long a recording is kept")
        .limit(
            Reached::Dropped,
            "directory::what_is_too_old_goes_also_of_tenants_that_are_gone",
        ),
    Host::text("trace.otlp", |c| (&mut c.trace.otlp).into())
        .says("The collector: http://host:port or https://host:port, where it takes OTLP over HTTP")
        .absent("http://127.0.0.1:4318", "nothing is traced"),
    Host::count("trace.one_in", 0, 1_000_000, |c| (&mut c.trace.one_in).into()).says(
        "Of the requests that bring no traceparent one in so many is traced; 0: none. A request that brings one is traced if \
         its caller traces it",
    ),
    Host::count("trace.rate", 1, 10_000, |c| (&mut c.trace.rate).into())
        .says("Traces in a second that callers ask for, and as many that the host begins")
        .limit(Reached::Dropped, "traces::a_flood_of_traced_requests_is_bounded"),
    Host::count("trace.queue", 1, 100_000, |c| (&mut c.trace.queue).into())
        .says("Traces that wait to be sent")
        .limit(Reached::Dropped, "traces::a_collector_that_is_slow_costs_spans_alone"),
    Host::time("trace.every", 10, MINUTE, |c| (&mut c.trace.every).into())
        .says("How long traces are collected that are sent together"),
    Host::time("trace.timeout", 100, MINUTE, |c| (&mut c.trace.timeout).into())
        .says("How long the collector may take to take them; at the stop of the host at most 2s")
        .limit(Reached::Dropped, "traces::a_collector_that_is_slow_costs_spans_alone"),
    Host::size("log.queue", 64 * KIB, GIB, |c| (&mut c.log_queue).into())
        .says("Lines of the log that queue while nobody reads it")
        .limit(Reached::Dropped, "usage::a_log_that_nobody_reads_stops_nobody"),
    Host::count("metrics.tenants", 0, 10_000, |c| (&mut c.metrics_tenants).into())
        .says("Tenants with metrics of their own, the busiest; the rest are counted together as other"),
];

/// What a section of the host's file may have. The limits of tenants come first in theirs.
pub(super) fn entries(section: &str) -> Vec<Entry> {
    let host = HOST.iter().map(|setting| setting.entry);
    let all = limits::entries().into_iter().chain(host);
    all.filter(|entry| entry.section() == section).collect()
}
