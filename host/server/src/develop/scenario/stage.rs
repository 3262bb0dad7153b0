//! The host on which a scenario is played: that of `serve` without its sockets, with locks and names of its own, in which time
//! passes only when the scenario says so.
//!
//! Each step is an HTTP request to the router that `serve` has. So what a scenario sees of keys, texts and codes is what callers see.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{HeaderName, Method};
use namelock_lock::Lease;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::file::{Ask, Lifetime, Request, Scenario};
use super::judge::Answer;
use crate::admission::Calls;
use crate::config::Config;
use crate::config::source::ConfigError;
use crate::develop::faults::Faults;
use crate::develop::subject::Subject;
use crate::develop::workshop::{Circumstances, Services};
use crate::http::{App, BodyLimits, Follows, IDEMPOTENCY_KEY, REPLAYED, location, router};
use crate::lifecycle::RunError;
use crate::tenants::directory::Candidate;
use crate::tenants::{Ready, Tenants};

/// Longest answer that is read, in bytes: a registration with the longest of everything is shorter.
const ANSWER_MAX: usize = 16 << 20;

/// Where it is played.
pub(super) struct Stage<'a> {
    pub(super) config: &'a Config,
    pub(super) tenants: Arc<Tenants>,
    /// The component, or the directory of its tenant.
    pub(super) path: &'a Path,
}

/// A scenario that is being played.
pub(super) struct Play<'a> {
    stage: &'a Stage<'a>,
    scenario: &'a Scenario,
    services: Services,
    ready: Arc<Ready>,
}

impl<'a> Play<'a> {
    /// Makes what there is before the first step.
    pub(super) async fn begin(stage: &'a Stage<'a>, scenario: &'a Scenario) -> Result<Self, RunError> {
        let ready = stage.tenant(scenario).await?;
        let services = Services::open(stage.config).await?;
        for given in &scenario.given {
            services.add(&ready.tenant, given).await?;
        }
        Ok(Self {
            stage,
            scenario,
            services,
            ready,
        })
    }

    /// What time it is for registrations.
    pub(super) fn now_ms(&self) -> u64 {
        self.services.time.now_ms()
    }

    pub(super) fn advance(&self, ms: u64) {
        self.services.time.advance(Duration::from_millis(ms));
    }

    /// Sends what the callers of a step ask for, at once; returns their answers in their order.
    pub(super) async fn answers(&self, asks: &[Ask]) -> Result<Vec<Answer>, RunError> {
        let Some(first) = asks.first() else {
            return Ok(Vec::new());
        };
        let faults = first.faults.unwrap_or(self.scenario.faults);
        let circumstances = self.services.under(self.stage.config, faults)?;
        let _held = self
            .hold(&circumstances, self.scenario.held.iter().chain(&first.held), faults)
            .await?;
        let http = &self.stage.config.http;
        let app = Arc::new(App {
            tenants: Arc::clone(&self.stage.tenants),
            powers: circumstances.powers(),
            calls: Calls::new(http.calls, http.calls_waiting, http.calls_wait),
            metrics: Arc::default(),
            faults: Arc::default(),
            recorder: None,
            follows: Follows::new(http.connections),
            tracer: None,
            body: BodyLimits {
                max: http.body,
                timeout: http.body_timeout,
            },
        });
        let router = router(app);
        let mut running = JoinSet::new();
        for (at, ask) in asks.iter().enumerate() {
            let request = request(&self.ready.tenant.id, ask)?;
            let router = router.clone();
            running.spawn(async move { (at, answer(router.oneshot(request).await).await) });
        }
        let mut answers = running.join_all().await;
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// The settings of the scenario that no call has read.
    pub(super) fn unread_settings(&self) -> impl Iterator<Item = &str> {
        let unread = self.ready.tenant.settings.unread();
        unread.filter(|key| self.scenario.settings.contains_key(*key))
    }

    /// Takes the locks that somebody else is said to hold.
    async fn hold(
        &self,
        circumstances: &Circumstances,
        names: impl Iterator<Item = &String>,
        faults: Faults,
    ) -> Result<Vec<Lease>, RunError> {
        let mut held = Vec::new();
        if faults.lock_down {
            return Ok(held);
        }
        // One that the scenario and the step name is held once.
        for name in BTreeSet::from_iter(names) {
            let lease = circumstances
                .locks
                .acquire(&self.ready.tenant.namespace, name, Duration::ZERO)
                .await;
            held.push(lease.map_err(|error| wrong("held", &format!("cannot hold the lock on {name:?}: {error}")))?);
        }
        Ok(held)
    }
}

impl Stage<'_> {
    /// The tenant, with the settings of a scenario.
    async fn tenant(&self, scenario: &Scenario) -> Result<Arc<Ready>, RunError> {
        let subject = Subject::read(self.path, self.config).map_err(RunError::Tenant)?;
        let (mut plan, id) = (subject.plan, subject.id);
        let settings = scenario
            .settings
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        plan.for_author(settings);
        self.tenants.load(vec![Candidate::new(id.clone(), plan)]).await;
        let unknown = || wrong("settings", "the tenant was not loaded");
        let ready = self.tenants.get(id.as_str()).ok_or_else(unknown)?;
        ready.map_err(|refused| wrong(&self.path.display().to_string(), &refused.reason))
    }
}

fn wrong(place: &str, problem: &str) -> RunError {
    ConfigError::new(place, problem).into()
}

/// The request as a caller sends it.
fn request(tenant: &str, ask: &Ask) -> Result<axum::extract::Request, RunError> {
    let names = location(tenant, "");
    let (all, one) = (names.trim_end_matches('/'), location(tenant, &ask.name));
    let (method, address, body) = match &ask.request {
        Request::Register {
            owner,
            lifetime_ms,
            attributes,
        } => {
            let body =
                json!({ "name": ask.name, "owner": owner, "lifetime_ms": lifetime_ms, "attributes": attributes });
            (Method::POST, all.to_owned(), Some(body))
        }
        Request::Update {
            owner,
            new_owner,
            lifetime,
            attributes,
        } => {
            let mut body = json!({ "owner": owner });
            let lifetime = lifetime.map(|lifetime| match lifetime {
                Lifetime::Endless => Value::Null,
                Lifetime::Ms(ms) => ms.into(),
            });
            for (key, value) in [
                ("new_owner", new_owner.as_ref().map(|owner| json!(owner))),
                ("lifetime_ms", lifetime),
                ("attributes", attributes.as_ref().map(|attributes| json!(attributes))),
            ] {
                if let Some(value) = value {
                    body[key] = value;
                }
            }
            (Method::PATCH, one, Some(body))
        }
        Request::Free { owner } => {
            let owner = percent_encoding::utf8_percent_encode(owner, percent_encoding::NON_ALPHANUMERIC);
            (Method::DELETE, format!("{one}?owner={owner}"), None)
        }
        Request::Find => (Method::GET, one, None),
    };
    let mut request = axum::http::Request::builder()
        .method(method)
        .uri(address)
        .header(HOST, "scenario");
    if let Some(key) = &ask.key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    request
        .body(body)
        .map_err(|error| wrong(&format!("{} {:?}", ask.verb(), ask.name), &error.to_string()))
}

async fn answer(response: Result<axum::response::Response, std::convert::Infallible>) -> Result<Answer, RunError> {
    let Ok(response) = response;
    let status = response.status().as_u16();
    let replayed = response.headers().contains_key(HeaderName::from_static(REPLAYED));
    let body = axum::body::to_bytes(response.into_body(), ANSWER_MAX).await;
    let body = body.map_err(|error| RunError::Runtime(std::io::Error::other(error)))?;
    Ok(Answer {
        status,
        replayed,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
