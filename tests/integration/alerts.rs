//! Each fault of the table in docs/operations.md raises the alert that stands beside it, judged by a real Prometheus by the rules
//! of docs/monitoring/alerts.yml; before the fault none fires, and it ends when the fault is mended.
//!
//! - `faults`: which fault raises which alert;
//! - `rules`: the rules with shorter times;
//! - `hosts`, `memcached`, `databases`, `tenants`, `certificates`: the faults.

mod certificates;
mod databases;
mod faults;
mod hosts;
mod memcached;
mod rules;
mod tenants;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use namelock_test_servers::Prometheus;
use serde_json::Value;

use self::faults::Fault;
use crate::fixture::{Host, eventually};

/// How many scrapes of each host there must be before it counts that no alert fires: more than a rule waits for.
const SCRAPES: u32 = 3;

/// How often Prometheus judges the rules.
const JUDGES_EVERY: Duration = Duration::from_millis(200);

/// What an alert must be labelled with.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// A Prometheus that watches hosts by the shortened rules. Several faults may be induced at once, each with hosts of its own:
/// most of the time is spent in waiting for Prometheus, which needs seconds to begin with a host.
struct Watch {
    prometheus: Prometheus,
    hosts: Mutex<Vec<SocketAddr>>,
}

impl Watch {
    fn start() -> Self {
        Self {
            prometheus: Prometheus::start(&rules::shortened()),
            hosts: Mutex::default(),
        }
    }

    /// Watches these hosts too, and waits until no alert fires for them although each was scraped several times.
    async fn begin(&self, hosts: &[&Host]) {
        hosts.iter().for_each(|host| self.add(host));
        let instances: Vec<_> = hosts.iter().map(|host| instance(host)).collect();
        eventually("each host was scraped, and no alert fires for it", async || {
            let firing = self.look().await;
            let is_quiet = |instance: &String| firing.iter().all(|alert| alert["instance"] != **instance);
            instances
                .iter()
                .all(|instance| self.scrapes(instance) >= SCRAPES && is_quiet(instance))
        })
        .await;
    }

    /// Watches a host too, from within five seconds on.
    fn add(&self, host: &Host) {
        let mut hosts = self.hosts.lock().unwrap();
        hosts.push(host.addresses().1);
        self.prometheus.scrape(&hosts);
    }

    /// How many scrapes there were of a host.
    fn scrapes(&self, instance: &str) -> u32 {
        let query = format!("count_over_time(namelock_build_info{{instance=\"{instance}\"}}[10m])");
        let answer = self.prometheus.query(&query);
        let answer: Value = answer.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        let count = answer["data"]["result"][0]["value"][1].as_str();
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// The labels of each alert that fires.
    fn firing(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.prometheus.ask("/api/v1/alerts").unwrap()).unwrap();
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"].clone()).collect()
    }

    /// The same, not at once: Prometheus judges five times a second.
    async fn look(&self) -> Vec<Value> {
        tokio::time::sleep(JUDGES_EVERY / 2).await;
        self.firing()
    }

    async fn fires(&self, fault: Fault, labels: Labels<'_>) -> bool {
        let has_all = |alert: &Value| labels.iter().all(|(name, value)| alert[*name] == *value);
        let mut firing = self.look().await.into_iter();
        firing.any(|alert| alert["alertname"] == fault.alert() && has_all(&alert))
    }

    /// Makes sure that a fault raises its alert with these labels, which does not fire before.
    async fn raises(&self, fault: Fault, labels: Labels<'_>, induce: impl FnOnce()) {
        self.is_quiet(fault, labels).await;
        induce();
        self.raises_while(fault, labels, async || {}).await;
    }

    /// The same of a fault that lasts only while something goes on, such as callers who ask.
    async fn raises_while(&self, fault: Fault, labels: Labels<'_>, mut goes_on: impl AsyncFnMut()) {
        let what = format!("{fault:?} raises {} with {labels:?}", fault.alert());
        eventually(&what, async || {
            goes_on().await;
            self.fires(fault, labels).await
        })
        .await;
    }

    /// Waits until the alert of a fault does not fire with these labels: nothing has happened yet, or all is mended.
    async fn is_quiet(&self, fault: Fault, labels: Labels<'_>) {
        let what = format!("{} does not fire with {labels:?}", fault.alert());
        eventually(&what, async || !self.fires(fault, labels).await).await;
    }
}

/// Where Prometheus says that a host is.
fn instance(host: &Host) -> String {
    host.addresses().1.to_string()
}
