//! What others count, or what is true now.

use std::fmt;

use namelock_lock::figures::Figures;

use super::mishaps;
use super::tenants::TenantUsage;
use super::write::{About, Labels, Writer};
use crate::trace::figures::Counts;

/// A service that the host needs, and whether it answers.
#[derive(Debug)]
pub struct Backend {
    /// What it is: `lock` or `names`.
    pub name: &'static str,
    /// Whether it is ready.
    pub up: bool,
}

/// What is true when somebody asks.
#[derive(Debug, Default)]
pub struct Now {
    /// Calls that hold one of `http.calls`.
    pub calls_running: usize,
    /// Calls that wait for one.
    pub calls_waiting: usize,
    /// Lines of the log that found its queue full.
    pub log_lines_dropped: u64,
    /// Bytes of the log that are not written yet.
    pub log_queue_bytes: usize,
    /// Whether the process is stopping.
    pub draining: bool,
    /// The services that it needs.
    pub backends: Vec<Backend>,
    /// How many were not let in at the admin listener, by reason.
    pub not_let_in: Vec<(&'static str, u64)>,
    /// For each listener with a certificate when that ends, in seconds since 1970.
    pub certificates: Vec<(&'static str, u64)>,
    /// What the locks have counted.
    pub locks: Option<Figures>,
    /// By how much the clock that database time follows is ahead of it, in milliseconds.
    pub clock_off_ms: i64,
    /// What has gone wrong in the names database.
    pub names: namelock_names::Figures,
    /// Tasks of the runtime, and those that wait to run in its shared queue.
    pub runtime: (usize, usize),
    /// What is counted of traces.
    pub traces: Counts,
    /// How many tenants there are in each state.
    pub states: Vec<(&'static str, usize)>,
    /// How many components were pulled from registries, or were not, by how it ended.
    pub pulls: Vec<(&'static str, u64)>,
    /// What each tenant has used.
    pub tenants: Vec<TenantUsage>,
    /// How many of them get series of their own.
    pub tenants_max: usize,
}

impl Now {
    pub(super) fn write(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let about = About::count("build_info", "The version of this host.");
        writer.gauge(about, [(vec![("version", env!("CARGO_PKG_VERSION"))], 1_usize)])?;
        let about = About::count("calls_running", "Calls that hold one of http.calls.");
        writer.level(about, self.calls_running)?;
        let about = About::count("calls_waiting", "Calls that wait for one of http.calls.");
        writer.level(about, self.calls_waiting)?;
        let about = About::count("draining", "1 while the host is stopping.");
        writer.level(about, usize::from(self.draining))?;
        let about = About::count("log_lines_dropped", "Lines of the log that found its queue full.");
        writer.counter(about, [(Labels::new(), self.log_lines_dropped)])?;
        let about = About::bytes("log_queue", "Bytes of the log that are not written yet.");
        writer.level(about, self.log_queue_bytes)?;
        let about = About::count("backend_up", "Whether a service that the host needs answers.");
        let backends = self.backends.iter();
        writer.gauge(
            about,
            backends.map(|backend| (vec![("backend", backend.name)], usize::from(backend.up))),
        )?;
        let about = About::count(
            "admin_not_let_in",
            "Questions at the admin listener that were refused, by reason.",
        );
        let not_let_in = self.not_let_in.iter();
        writer.counter(
            about,
            not_let_in.map(|(reason, count)| (vec![("reason", *reason)], *count)),
        )?;
        let about = About::seconds(
            "tls_certificate_not_after",
            "When the certificate that a listener shows ends, as a time since 1970.",
        );
        let certificates = self.certificates.iter();
        writer.gauge(
            about,
            certificates.map(|(listener, end)| (vec![("listener", *listener)], *end)),
        )?;
        let about = About::seconds(
            "clock_off",
            "By how much the clock that database time follows is ahead of it.",
        );
        writer.gauge(about, [(Labels::new(), self.clock_off_ms as f64 / 1e3)])?;
        let about = About::count("tenants", "Tenants, by state.");
        let states = self.states.iter();
        writer.gauge(about, states.map(|(state, count)| (vec![("state", *state)], *count)))?;
        let about = About::count(
            "component_pulls",
            "Components that were pulled from registries, or were not, by result.",
        );
        let pulls = self.pulls.iter();
        writer.counter(about, pulls.map(|(result, count)| (vec![("result", *result)], *count)))?;
        let (tasks, queued) = self.runtime;
        let about = About::count("runtime_tasks", "Tasks of the runtime that have not ended.");
        writer.level(about, tasks)?;
        let about = About::count(
            "runtime_queued",
            "Tasks that wait to run in the queue that all threads share.",
        );
        writer.level(about, queued)?;
        write_traces(writer, &self.traces)?;
        mishaps::write_names(writer, &self.names)?;
        match &self.locks {
            Some(figures) => write_locks(writer, figures),
            None => Ok(()),
        }
    }
}

fn write_traces(writer: &mut Writer<'_>, counts: &Counts) -> fmt::Result {
    let about = About::count("trace_spans_sent", "Spans that the collector has taken.");
    writer.counter(about, [(Labels::new(), counts.sent)])?;
    let about = About::count("trace_spans_dropped", "Spans that were not sent, by reason.");
    let dropped = [("queue_full", counts.queue_full), ("not_taken", counts.not_taken)];
    writer.counter(about, dropped.map(|(reason, spans)| (vec![("reason", reason)], spans)))?;
    let about = About::count(
        "traces_over_rate",
        "Requests that were not traced because trace.rate was used up.",
    );
    writer.counter(about, [(Labels::new(), counts.over_rate)])
}

fn write_locks(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    let about = About::count("locks_held", "Leases that calls on this host hold.");
    writer.level(about, figures.held)?;
    let about = About::count(
        "locks_waiting",
        "Calls that wait for a name that another one on this host has.",
    );
    writer.level(about, figures.waiting)?;
    let about = About::seconds(
        "lock_wait",
        "Time from asking for a lease to having it, or to hearing that it is busy.",
    );
    writer.histogram(about, [(Labels::new(), figures.waits.clone())])?;
    let about = About::seconds("lock_hold", "Time from asking for a lease to its end.");
    writer.histogram(about, [(Labels::new(), figures.holds.clone())])?;
    let about = About::count("lock_refusals", "Leases that were not granted, by reason.");
    let refused = figures.refused.iter();
    writer.counter(
        about,
        refused.map(|(reason, count)| (vec![("reason", reason.label())], *count)),
    )?;
    if figures.servers.is_empty() {
        return Ok(());
    }
    mishaps::write_servers(writer, &figures.servers)?;
    let servers = || {
        figures
            .servers
            .iter()
            .map(|server| (vec![("server", &*server.server)], server))
    };
    let about = About::count("memcached_up", "Whether all connections to a memcached can be used.");
    writer.gauge(
        about,
        servers().map(|(labels, server)| (labels, usize::from(server.up))),
    )?;
    let about = About::count("memcached_connections", "Connections to a memcached that were made.");
    writer.counter(about, servers().map(|(labels, server)| (labels, server.connections)))?;
    let about = About::count(
        "memcached_batches",
        "Batches of commands that were sent to a memcached.",
    );
    writer.counter(about, servers().map(|(labels, server)| (labels, server.batches)))?;
    let about = About::count(
        "memcached_grants",
        "Whether a memcached may grant locks: 0 in its grace period after it has lost some, or while its clock is wrong.",
    );
    writer.gauge(
        about,
        servers().map(|(labels, server)| (labels, usize::from(server.grants))),
    )?;
    let about = About::count("memcached_operations", "Commands in these batches.");
    writer.counter(about, servers().map(|(labels, server)| (labels, server.operations)))?;
    let about = About::count("memcached_queued", "Commands that wait to be sent to a memcached.");
    writer.gauge(about, servers().map(|(labels, server)| (labels, server.queued)))?;
    let about = About::seconds("memcached_exchange", "Time from sending a batch to its last answer.");
    writer.histogram(
        about,
        servers().map(|(labels, server)| (labels, server.exchanges.clone())),
    )
}
