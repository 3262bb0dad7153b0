//! Every name is served again after a fault, at every host: each of the hot ones, and some that nobody else wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::clients::{Answer, Call, Clients, HOT, Kind, PATIENCE, hot};
use crate::fleet::{Fleet, HOSTS, now_us};

/// How many names are probed beside the hot ones: enough for each memcached to have several.
const PROBED: u32 = 8;

/// How long to wait until one that failed is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// What is known when everybody was waited for.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// When a name was served at every host, in microseconds since 1970.
    pub by_name: BTreeMap<String, i64>,
    /// Which name was not, and at which host.
    pub missing: Vec<String>,
}

/// Registers every name at every host, again and again until it is served, for at most `within`.
pub async fn all_served(fleet: &Arc<Fleet>, clients: &Clients, within: Duration) -> Served {
    let names = || {
        (0..HOT)
            .map(hot)
            .chain((0..PROBED).map(|number| format!("probe-{number}")))
    };
    let mut probes = JoinSet::new();
    let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap_or_default();
    for host in 0..HOSTS {
        for name in names() {
            let probe = Probe {
                fleet: Arc::clone(fleet),
                http: http.clone(),
                host,
                owner: clients.fresh_owner(),
                name,
            };
            probes.spawn(tokio::time::timeout(within, probe.run()));
        }
    }
    let mut served = Served::default();
    for host in 0..HOSTS {
        served
            .missing
            .extend(names().map(|name| format!("{name} at host {host}")));
    }
    while let Some(ended) = probes.join_next().await {
        let Ok(Ok(calls)) = ended else { continue };
        if let Some(last) = calls.last() {
            let name = format!("{} at host {}", last.name, last.host);
            served.missing.retain(|missing| *missing != name);
            let at = served.by_name.entry(last.name.clone()).or_default();
            *at = (*at).max(last.end_us);
        }
        for call in calls {
            clients.record(call);
        }
    }
    served
}

struct Probe {
    fleet: Arc<Fleet>,
    http: reqwest::Client,
    host: usize,
    name: String,
    owner: String,
}

impl Probe {
    /// Calls until the name is served, and returns all calls.
    async fn run(self) -> Vec<Call> {
        let mut calls = Vec::new();
        loop {
            let begin_us = now_us();
            // A name has each owner once.
            let owner = format!("{}-{}", self.owner, calls.len());
            let answer = self.call(&owner).await;
            // Both tell that the lock was granted and that the database answered.
            let served = match &answer {
                Answer::Registration { .. } => true,
                Answer::Problem { code, .. } => code == "name_taken",
                Answer::Freed | Answer::Unknown(_) => false,
            };
            calls.push(Call {
                attempt: 1,
                host: self.host,
                kind: Kind::Register,
                name: self.name.clone(),
                owner,
                begin_us,
                end_us: now_us(),
                answer,
            });
            if served {
                return calls;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn call(&self, owner: &str) -> Answer {
        let wish = json!({ "name": self.name, "owner": owner, "lifetime_ms": 50, "attributes": { "wait_ms": "1500" } });
        let answer = async {
            let response = self.http.post(self.fleet.url(self.host)).json(&wish).send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>(Answer::of(status, &response.text().await?))
        };
        answer.await.unwrap_or_else(|error| Answer::Unknown(error.to_string()))
    }
}
