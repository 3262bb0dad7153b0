//! What an operator sees at a glance: tenants, locks, services and faults, in one bounded answer.
//!
//! [`Overview::run`] samples what the host counts once a second, so that all who look see the same, and looking is cheap. The page
//! of the admin listener asks for `GET /overview` every second.
//!
//! - `window`, `sampler`: the last minute of the host, of each tenant and of the services;
//! - [`faults`]: the last hour of what went wrong;
//! - `health`: whether the services answer; `refresh`: how much each tenant keeps;
//! - `answer`: what is answered; `rows`: the tenants and locks in it, which are chosen and ordered.

mod answer;
pub mod faults;
mod health;
mod refresh;
mod rows;
mod sampler;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_lock::Locks;
use namelock_lock::figures::Figures;
use namelock_names::Names;
use namelock_types::milliseconds;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use self::faults::Faults;
pub(crate) use self::rows::Question;

use self::answer::{Answer, Database, Host, Lock, Server};
use self::faults::now_ms;
use self::health::{Health, Ready};
use self::sampler::{Counted, Part, Samples};
use crate::admission::Calls;
use crate::metrics::Metrics;
use crate::tenants::Tenants;

/// How often everything is sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What an overview is made of.
pub struct Sources {
    /// The lock service.
    pub locks: Locks,
    /// The names database.
    pub names: Arc<dyn Names>,
    /// What it is: `PostgreSQL` or `SQLite`.
    pub database: &'static str,
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// The host's limit of calls.
    pub calls: Arc<Calls>,
    /// How many that are.
    pub calls_max: usize,
    /// The counters of the host.
    pub metrics: Arc<Metrics>,
    /// The faults of the last hour.
    pub faults: Arc<Faults>,
    /// Cancelled once the process is stopping.
    pub draining: CancellationToken,
}

/// The state of the host, as an operator sees it at a glance.
pub struct Overview {
    of: Sources,
    began: Instant,
    samples: Mutex<Samples>,
    health: Health,
}

impl Overview {
    /// An overview that has not sampled anything yet.
    pub fn new(of: Sources) -> Self {
        let began = Instant::now();
        Self {
            of,
            began,
            samples: Mutex::new(Samples::new(began)),
            health: Health::default(),
        }
    }

    /// Samples once a second, for ever.
    pub async fn run(&self) {
        let sampling = async {
            let mut seconds = tokio::time::interval(SAMPLE_EVERY);
            seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first one comes at once.
            seconds.tick().await;
            loop {
                seconds.tick().await;
                self.sample();
            }
        };
        tokio::join!(sampling, refresh::keep_fresh(&self.of.tenants, &*self.of.names));
    }

    fn sample(&self) {
        let (durations, faults) = self.of.metrics.requests();
        let mut parts = vec![
            (Part::Host, Counted { durations, faults }),
            (Part::Database, counted(self.of.metrics.database())),
        ];
        let servers = self.of.locks.figures().servers.into_iter();
        parts.extend(servers.map(|server| (Part::Memcached(server.server), counted(server.exchanges.counts()))));
        let tenants = self.of.tenants.glances().into_iter().map(|glance| glance.account);
        self.samples.lock().take(Instant::now(), parts, tenants);
    }

    pub(crate) async fn answer(&self, question: &Question) -> Answer {
        // This one waits, so it comes first: all else is then as new as the answer.
        let ready = self.health.look(&self.of.locks, &*self.of.names).await;
        let (figures, held) = (self.of.locks.figures(), rows::held(&self.of.locks));
        let samples = self.samples.lock();
        Answer {
            at_ms: now_ms(),
            host: self.host(&ready, &samples),
            lock: lock(ready.lock, &figures, &samples),
            database: self.database(ready.names, &samples),
            tenants: rows::tenants(question, &self.of.tenants, &held, &samples),
            locks: rows::locks(question, &held, figures.waiting),
            faults: answer::Faults {
                codes: self.of.faults.codes(),
                lately: self.of.faults.lately(&question.tenant, question.limit()),
            },
        }
    }

    fn host(&self, ready: &Ready, samples: &Samples) -> Host {
        let (recent, history) = samples.part(&Part::Host);
        let state = if self.of.draining.is_cancelled() {
            "stopping"
        } else if ready.lock.is_ok() && ready.names.is_ok() {
            "ready"
        } else {
            "not_ready"
        };
        Host {
            version: env!("CARGO_PKG_VERSION"),
            up_ms: milliseconds(self.began.elapsed()),
            state,
            calls_running: self.of.calls.running(),
            calls_waiting: self.of.calls.waiting(),
            calls_max: self.of.calls_max,
            minute: recent.into(),
            history: history.into(),
        }
    }

    fn database(&self, ready: Result<(), String>, samples: &Samples) -> Database {
        let (recent, history) = samples.part(&Part::Database);
        Database {
            kind: self.of.database,
            refused: ready.err(),
            clock_off_ms: self.of.names.clock_off_ms(),
            minute: recent.into(),
            history: history.requests.into(),
        }
    }
}

fn counted(durations: namelock_types::histogram::Counts) -> Counted {
    Counted { durations, faults: 0 }
}

fn lock(ready: Result<(), String>, figures: &Figures, samples: &Samples) -> Lock {
    let servers = figures.servers.iter().map(|server| {
        let (recent, history) = samples.part(&Part::Memcached(Arc::clone(&server.server)));
        Server {
            server: server.server.to_string(),
            up: server.up,
            queued: server.queued,
            connections: server.connections,
            minute: recent.into(),
            history: history.requests.into(),
        }
    });
    let servers: Vec<_> = servers.collect();
    Lock {
        kind: if servers.is_empty() { "memory" } else { "memcached" },
        refused: ready.err(),
        servers,
    }
}
