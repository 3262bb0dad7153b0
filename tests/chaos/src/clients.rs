//! Clients that register, find and free, and record every call with its begin and end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fleet::{Fleet, HOSTS, NEWCOMER, now_us};

/// How many clients there are, and how many of them stay with one host, as the users of one region would. Only the
/// others are held up by whichever host stands still.
const CLIENTS: usize = 24;
const AT_HOME: usize = HOSTS * 6;

/// How long a client waits for an answer; after that it is not known what became of the call.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How many names are wanted by many, and how many by few.
pub const HOT: u32 = 8;
const COLD: u32 = 4000;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A bit of everything.
    Mixed,
    /// The same by clients that never hang up, with handlers that hold no lock for long.
    Patient,
    /// Handlers that save without a look, and owners that free what they have soon. If brief, half of the registrations end soon,
    /// so that a late write finds a name free that was taken meanwhile.
    Blind { brief: bool },
    /// Handlers that hold the locks of hot names for nearly as long as a lease lasts.
    LongHolds,
    /// Handlers that hold locks for a moment only.
    ShortHolds,
    /// Handlers that hold the locks of hot names until the lease is over, and others that want them, at a newcomer if there is
    /// one.
    WholeLeases,
}

/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;

/// One call, from the client's side; times in microseconds since 1970.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    pub host: usize,
    pub kind: Kind,
    /// How often the same request was sent, this time included.
    pub attempt: u32,
    pub name: String,
    pub owner: String,
    pub begin_us: i64,
    pub end_us: i64,
    pub answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    Register,
    Find,
    Free,
}

/// What a client was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Answer {
    /// 201 or 200, with the registration.
    Registration {
        owner: String,
        created_ms: i64,
        expires_ms: Option<i64>,
        fencing_token: i64,
    },
    /// 204.
    Freed,
    /// A problem of the contract, or what should be one.
    Problem { status: u16, code: String },
    /// No answer, or not a whole one.
    Unknown(String),
}

impl Answer {
    /// Whether it leaves open if something was done.
    fn is_open(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Problem { status: 500.., .. })
    }
}

/// Tells everybody to come to an end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    calls: Arc<Mutex<Vec<Call>>>,
    /// How often somebody has probed, so that every probe has an owner of its own.
    probes: AtomicUsize,
    tasks: JoinSet<()>,
}

impl Clients {
    /// All calls that have ended so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a call of somebody else.
    pub fn record(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// An owner that nobody else has.
    pub fn fresh_owner(&self) -> String {
        format!("p{}", self.probes.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until every client has ended, and hands over all calls.
    ///
    /// # Errors
    ///
    /// When one of them has panicked.
    pub async fn join(mut self) -> anyhow::Result<Vec<Call>> {
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(self.calls())
    }
}

/// Starts the clients.
pub fn start(fleet: &Arc<Fleet>, seed: u64, load: Load, stop: &Stop) -> Clients {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client {
            fleet: Arc::clone(fleet),
            load,
            number,
            random: StdRng::seed_from_u64(seed.wrapping_mul(1000).wrapping_add(number as u64)),
            http: reqwest::Client::builder().timeout(PATIENCE).build().unwrap_or_default(),
            calls: Arc::clone(&calls),
            mine: Vec::new(),
        };
        tasks.spawn(client.run(stop.clone()));
    }
    Clients {
        calls,
        probes: AtomicUsize::new(0),
        tasks,
    }
}

struct Client {
    fleet: Arc<Fleet>,
    load: Load,
    number: usize,
    random: StdRng,
    http: reqwest::Client,
    calls: Arc<Mutex<Vec<Call>>>,
    /// What it has registered, or may have.
    mine: Vec<(String, String)>,
}

impl Client {
    async fn run(mut self, stop: Stop) {
        let mut number = 0_u64;
        while !stop.is_stopped() {
            number += 1;
            let host = match self.number {
                number if number < AT_HOME => number % HOSTS,
                // A newcomer is not there for long.
                _ if self.fleet.hosts() > NEWCOMER
                    && (self.load == Load::WholeLeases || self.random.random_bool(0.5)) =>
                {
                    NEWCOMER
                }
                _ => self.random.random_range(0..HOSTS),
            };
            let kind = match (self.load, self.random.random_range(0..100)) {
                (Load::Mixed | Load::Patient | Load::Blind { .. }, 0..60)
                | (Load::LongHolds | Load::ShortHolds | Load::WholeLeases, 0..90) => Kind::Register,
                (Load::Mixed | Load::Patient, 60..82) => Kind::Find,
                _ if self.mine.is_empty() => Kind::Find,
                _ => Kind::Free,
            };
            let (name, owner) = match kind {
                Kind::Free => {
                    let at = self.random.random_range(0..self.mine.len());
                    self.mine.swap_remove(at)
                }
                Kind::Register | Kind::Find => (self.name(), format!("c{}-{number}", self.number)),
            };
            self.ask(host, kind, name, owner).await;
            let pause = self.random.random_range(2..20);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Asks once, or again and again with the same key, at any host, while a registration may have been done or not.
    async fn ask(&mut self, host: usize, kind: Kind, name: String, owner: String) {
        let wish = self.wish(&name, &owner);
        let mut host = host;
        for attempt in 1..=ATTEMPTS {
            let begin_us = now_us();
            let fleet = Arc::clone(&self.fleet);
            let (in_service, _gate) = fleet.in_service(host).await;
            host = in_service;
            let answer = self.call(host, kind, &name, &owner, &wish).await;
            let is_open = kind == Kind::Register && answer.is_open();
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call {
                host,
                kind,
                attempt,
                begin_us,
                end_us: now_us(),
                answer: answer.clone(),
                name: name.clone(),
                owner: owner.clone(),
            });
            if !is_open || attempt == ATTEMPTS {
                let is_mine = is_open || matches!(answer, Answer::Registration { .. });
                if kind == Kind::Register && is_mine && self.mine.len() < 100 {
                    self.mine.push((name, owner));
                }
                return;
            }
            let pause = self.random.random_range(5..300);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            host = self.next_host(host);
        }
    }

    /// Where to send a request again: at any host. But where handlers hold their locks for long, who is at home stays there,
    /// or soon all clients would wait for the one host that stands still.
    fn next_host(&mut self, host: usize) -> usize {
        if self.load == Load::LongHolds && self.number < AT_HOME {
            host
        } else {
            self.random.random_range(0..HOSTS)
        }
    }

    fn name(&mut self) -> String {
        let (hot_share, names) = match self.load {
            Load::Mixed | Load::Patient => (60, HOT),
            Load::Blind { .. } | Load::LongHolds => (90, HOT),
            // So few that each is held all the time.
            Load::WholeLeases => (100, 6),
            Load::ShortHolds => (10, HOT),
        };
        if self.random.random_range(0..100) < hot_share {
            hot(self.random.random_range(0..names))
        } else {
            format!("cold-{}", self.random.random_range(0..COLD))
        }
    }

    async fn call(&mut self, host: usize, kind: Kind, name: &str, owner: &str, wish: &serde_json::Value) -> Answer {
        let url = self.fleet.url(host);
        let request = match kind {
            // Each owner registers once, so it is the key as well.
            Kind::Register => self.http.post(url).header("idempotency-key", owner).json(wish),
            Kind::Find => self.http.get(format!("{url}/{name}")),
            Kind::Free => self.http.delete(format!("{url}/{name}?owner={owner}")),
        };
        // One in twenty clients hangs up before it has heard.
        let patience = match self.random.random_range(0..20) {
            0 if self.load != Load::Patient => Duration::from_millis(self.random.random_range(1..200)),
            _ => PATIENCE,
        };
        let answer = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let text = response.text().await?;
            Ok::<_, reqwest::Error>(Answer::of(status, &text))
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Unknown(error.to_string()),
            Err(_) => Answer::Unknown("hung up".to_owned()),
        }
    }

    /// A request body.
    fn wish(&mut self, name: &str, owner: &str) -> Value {
        let random = &mut self.random;
        let mut attributes = json!({});
        let hold = match (self.load, random.random_range(0..100)) {
            (Load::LongHolds, _) => random.random_range(1500..2600),
            (Load::WholeLeases, _) if self.number < AT_HOME => 5000,
            (Load::WholeLeases, _) => random.random_range(50..400),
            (Load::ShortHolds | Load::Patient, _) => random.random_range(1..60),
            (Load::Mixed | Load::Blind { .. }, 0..40) => 0,
            (Load::Mixed | Load::Blind { .. }, 40..95) => random.random_range(1..60),
            (Load::Mixed | Load::Blind { .. }, _) => random.random_range(300..1900),
        };
        attributes["work_ms"] = hold.to_string().into();
        if random.random_range(0..100) < 50 {
            attributes["wait_ms"] = random.random_range(1..1500).to_string().into();
        }
        if matches!(self.load, Load::Blind { .. }) {
            attributes["blind"] = "yes".into();
        }
        let lifetime = match (self.load, random.random_range(0..100)) {
            // So that the next one finds it free, and holds it as long.
            (Load::LongHolds, _) => Some(random.random_range(50..500)),
            (Load::Blind { brief: true }, 0..50) => Some(random.random_range(20..200)),
            (_, 0..5) => None,
            (_, 5..25) => Some(random.random_range(2000..30_000)),
            (_, _) => Some(random.random_range(50..1500)),
        };
        let mut wish = json!({ "name": name, "owner": owner, "attributes": attributes });
        if let Some(lifetime) = lifetime {
            wish["lifetime_ms"] = lifetime.into();
        }
        wish
    }
}

/// A name that is wanted by many.
pub fn hot(number: u32) -> String {
    format!("hot-{number}")
}

/// Tells whether it is such a name.
pub fn is_hot(name: &str) -> bool {
    name.starts_with("hot-")
}

impl Answer {
    /// Reads an answer.
    pub fn of(status: u16, text: &str) -> Self {
        let body: Value = serde_json::from_str(text).unwrap_or_default();
        match status {
            204 => Self::Freed,
            200 | 201 => Self::Registration {
                owner: body["owner"].as_str().unwrap_or_default().to_owned(),
                created_ms: body["created_ms"].as_i64().unwrap_or_default(),
                expires_ms: body["expires_ms"].as_i64(),
                fencing_token: body["fencing_token"].as_i64().unwrap_or_default(),
            },
            _ => Self::Problem {
                status,
                code: body["code"].as_str().unwrap_or_default().to_owned(),
            },
        }
    }
}
