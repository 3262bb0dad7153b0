//! What the calls of the API share.

use std::sync::Arc;

use namelock_sandbox::Powers;

use super::body::BodyLimits;
use super::follow::Follows;
use crate::admission::Calls;
use crate::metrics::Metrics;
use crate::overview::Faults;
use crate::recordings::Recorder;
use crate::tenants::Tenants;
use crate::trace::Tracer;

/// What the calls share.
pub struct App {
    /// The tenants that are served.
    pub tenants: Arc<Tenants>,
    /// What a handler can use.
    pub powers: Powers,
    /// The host's limit of calls.
    pub calls: Arc<Calls>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The faults of the last hour.
    pub faults: Arc<Faults>,
    /// Keeps calls that failed; none: the host keeps none.
    pub recorder: Option<Arc<Recorder>>,
    /// Those who follow the logs of tenants.
    pub follows: Follows,
    /// Chooses the requests that are traced; none: nothing is traced.
    pub tracer: Option<Tracer>,
    /// The limits of a request's body.
    pub body: BodyLimits,
}
