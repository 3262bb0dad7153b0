//! What the admin listener reports on and steers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use namelock_lock::Locks;
use namelock_names::Names;
use tokio_util::sync::CancellationToken;

use super::operators::Operators;
use crate::admission::Calls;
use crate::logins::Logins;
use crate::metrics::Metrics;
use crate::overview::Overview;
use crate::same_site;
use crate::telemetry::Log;
use crate::tenants::Tenants;
use crate::tenants::fleet::Fleet;
use crate::tls::Tls;
use crate::trace::figures::Figures;

/// What the admin listener reports on and steers.
#[derive(Clone)]
pub struct Admin {
    /// Who may use it.
    pub operators: Arc<Operators>,
    /// The TLS of this listener and of the public one, as far as they have it.
    pub tls: Vec<Arc<Tls>>,
    /// Who was not let in here.
    pub logins: Arc<Logins>,
    /// The lock service.
    pub locks: Locks,
    /// The names database.
    pub names: Arc<dyn Names>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The host's limit of calls.
    pub calls: Arc<Calls>,
    /// The tenants, served or not.
    pub tenants: Arc<Tenants>,
    /// Where they are, if they are those of a fleet.
    pub fleet: Option<Arc<Fleet>>,
    /// How many of them have metrics of their own.
    pub metrics_tenants: usize,
    /// The log.
    pub log: Log,
    /// Whether the public listener accepts requests: its tenants are loaded, or were waited for long enough.
    pub accepting: Arc<AtomicBool>,
    /// Cancelled once the process is stopping; who cancels it has it stop as SIGTERM does.
    pub draining: CancellationToken,
    /// What is counted of traces; none: nothing is traced.
    pub traces: Option<Arc<Figures>>,
    /// What the page shows.
    pub overview: Arc<Overview>,
    /// The names by which browsers may reach this listener.
    pub known_as: same_site::Names,
}
