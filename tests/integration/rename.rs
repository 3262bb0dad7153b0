//! Many callers that swap and rename few names over two hosts, of which one is killed meanwhile: every change is whole, or
//! not made at all, and everybody gets on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use namelock_test_artifacts::RENAME;
use namelock_test_servers::{Memcached, Postgres};
use serde_json::{Value, json};

use crate::fixture::{Builder, DEADLINE, Host, eventually, no_lock_is_left};

/// How long the callers go on, in seconds, unless `NAMELOCK_RENAME_SECONDS` says otherwise.
const SECONDS: u64 = 4;

/// More than the names, so that two names are always free, and some callers rename while others swap.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const OWNERS: [&str; 6] = ["ann", "bob", "cid", "dot", "eve", "fay"];

const CALLERS: usize = 64;

/// How many changes are made before a host is killed, and before it is started again.
const CHANGES: usize = 100;
const CHANGES_WITHOUT: usize = 30;

/// The locks of a host that was killed expire soon.
const CONFIG: &str = r#"
    [lock]
    lease = "4s"
    max_hold = "30s"
"#;

/// Callers wait for each other for as long as that takes.
const TENANT: &str = r#"
    [settings]
    wait_ms = 20000
    swap_with_others = true
"#;

/// The codes of a request that has changed nothing: somebody else was faster.
const REFUSED: [&str; 3] = ["forbidden", "name_taken", "name_invalid"];

/// The codes of a request that may have changed something, or that can be made later: it is sent again with its key.
const AGAIN: [&str; 8] = [
    "handler_deadline",
    "lease_lost",
    "lock_unavailable",
    "name_busy",
    "names_unavailable",
    "overloaded",
    "tenant_limit",
    "tenant_unavailable",
];

/// The longest that a caller waits before it sends a request again, whatever it is told: a host is started meanwhile.
const RETRY_MAX: Duration = Duration::from_millis(200);

/// What all callers know.
struct Fleet {
    /// Where the hosts listen; one that is down is not taken from it.
    urls: RwLock<[String; 2]>,
    client: reqwest::Client,
    /// How many changes each caller has made.
    changes: Vec<AtomicUsize>,
    /// How often each code was answered.
    codes: Mutex<BTreeMap<String, usize>>,
    repetitions: AtomicUsize,
    is_over: AtomicBool,
}

/// Takes one name in the place of another.
struct Wish {
    owner: &'static str,
    has: String,
    wants: &'static str,
    is_free: bool,
}

impl Fleet {
    fn url(&self, number: usize) -> String {
        self.urls.read().unwrap()[number % 2].clone()
    }

    fn count(&self, code: &str) {
        *self.codes.lock().unwrap().entry(code.to_owned()).or_default() += 1;
    }

    fn changes(&self) -> usize {
        self.changes.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The names that have an owner, each with its owner, as one of the hosts sees them in one instant.
    ///
    /// A change that is half done would show here: each owner has one name at all times.
    async fn names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        eventually("a host lists the names", async || {
            let url = format!("{}/v1/t/names", self.url(rand::random_range(0..2)));
            let Ok(response) = self.client.get(url).send().await else {
                return false;
            };
            if response.status() != 200 {
                return false;
            }
            let Ok(page) = response.json::<Value>().await else {
                return false;
            };
            let of = |found: &Value, member: &str| found[member].as_str().unwrap().to_owned();
            let found = page["names"].as_array().unwrap().iter();
            names = found.map(|found| (of(found, "name"), of(found, "owner"))).collect();
            true
        })
        .await;
        let owners: BTreeSet<_> = names.iter().map(|(_, owner)| owner.as_str()).collect();
        assert!(owners.iter().eq(&OWNERS) && names.len() == OWNERS.len(), "{names:?}");
        names
    }

    async fn wish(&self) -> Wish {
        let names = self.names().await;
        let owner = OWNERS[rand::random_range(0..OWNERS.len())];
        let (has, _) = names.iter().find(|(_, of)| of == owner).unwrap();
        let others: Vec<_> = NAMES.into_iter().filter(|name| name != has).collect();
        let wants = others[rand::random_range(0..others.len())];
        Wish {
            owner,
            has: has.clone(),
            wants,
            is_free: names.iter().all(|(name, _)| name != wants),
        }
    }

    /// Sends a wish with its key until it is known what has become of it, and tells whether it was fulfilled.
    async fn send(&self, caller: usize, key: &str, wish: &Wish) -> bool {
        let (name, attributes) = if wish.is_free {
            (wish.wants, json!({ "rename_from": wish.has }))
        } else {
            (wish.has.as_str(), json!({ "swap_with": wish.wants }))
        };
        let body = json!({ "name": name, "owner": wish.owner, "attributes": attributes });
        let (mut host, mut fulfilled) = (caller, false);
        eventually("a request ends", async || {
            let url = format!("{}/v1/t/names", self.url(host));
            host += 1;
            let request = self.client.post(url).header("idempotency-key", key).json(&body);
            let Ok(response) = request.send().await else {
                self.count("no answer");
                return false;
            };
            let status = response.status();
            let is_replayed = response.headers().contains_key("idempotency-replayed");
            let Ok(answer) = response.json::<Value>().await else {
                return false;
            };
            if status == 201 {
                assert_eq!(answer["name"], name, "{answer}");
                assert!(
                    is_replayed || !wish.is_free || answer["owner"] == wish.owner,
                    "{answer}"
                );
                self.repetitions.fetch_add(usize::from(is_replayed), Relaxed);
                fulfilled = true;
                return true;
            }
            let code = answer["code"].as_str().unwrap_or_default();
            self.count(code);
            if let Some(wait) = answer["retry_after_ms"].as_u64() {
                tokio::time::sleep(Duration::from_millis(wait).min(RETRY_MAX)).await;
            }
            assert!(REFUSED.contains(&code) || AGAIN.contains(&code), "{answer}");
            REFUSED.contains(&code)
        })
        .await;
        fulfilled
    }

    /// Changes names until all is over, and until it has changed some.
    async fn call(&self, caller: usize) -> Duration {
        let mut longest = Duration::ZERO;
        for number in 0.. {
            if self.is_over.load(Relaxed) && self.changes[caller].load(Relaxed) > 0 {
                break;
            }
            let wish = self.wish().await;
            let begin = Instant::now();
            if self.send(caller + number, &format!("{caller}-{number}"), &wish).await {
                self.changes[caller].fetch_add(1, Relaxed);
            }
            longest = longest.max(begin.elapsed());
        }
        longest
    }

    async fn until_more(&self, changes: usize) {
        let before = self.changes();
        let are_changed = async || self.changes() >= before + changes;
        eventually("names are changed", are_changed).await;
    }
}

/// Kills one of the hosts and starts it again, one after the other, until `end`, but once at least; tells how often.
async fn kill_and_start(fleet: &Fleet, mut hosts: [Option<Host>; 2], end: Instant) -> (usize, [Option<Host>; 2]) {
    let mut kills = 0;
    while kills == 0 || Instant::now() < end {
        let number = kills % 2;
        fleet.until_more(CHANGES).await;
        let mut host = hosts[number].take().unwrap();
        host.process.kill();
        fleet.until_more(CHANGES_WITHOUT).await;
        // In this thread, although it blocks: a process does not outlive the thread that has started it.
        let host = host.crash_and_start();
        fleet.urls.write().unwrap()[number].clone_from(&host.url);
        hosts[number] = Some(host);
        kills += 1;
    }
    fleet.is_over.store(true, Relaxed);
    (kills, hosts)
}

// Shows P1: several names that are changed together are changed whole, or not at all, whoever dies meanwhile.
// Shows P3: the locks of a host that dies expire, and everybody gets on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_swap_and_rename_lose_no_name_and_double_none() {
    let seconds = std::env::var("NAMELOCK_RENAME_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let start = || {
        let builder = Builder::new().config(CONFIG).lock(&memcached);
        builder.names_url(&postgres.url()).tenant("t", RENAME, TENANT).start()
    };
    let hosts = [start(), start()];
    for host in &hosts {
        host.wait_until_ready();
    }
    for (owner, name) in OWNERS.iter().zip(NAMES) {
        let body = json!({ "name": name, "owner": owner, "attributes": { "first": owner } });
        assert_eq!(hosts[0].post_json("t", &body).await.status, 201);
    }
    let fleet = Fleet {
        urls: RwLock::new(hosts.each_ref().map(|host| host.url.clone())),
        client: reqwest::Client::builder().timeout(DEADLINE).build().unwrap(),
        changes: (0..CALLERS).map(|_| AtomicUsize::new(0)).collect(),
        codes: Mutex::default(),
        repetitions: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let callers = (0..CALLERS).map(|caller| fleet.call(caller));
    let (longest, (kills, hosts)) = tokio::join!(
        futures_util::future::join_all(callers),
        kill_and_start(&fleet, hosts.map(Some), end)
    );
    let longest = longest.into_iter().max().unwrap();
    fleet.names().await;
    no_lock_is_left(&memcached).await;
    drop(hosts);
    let each = fleet.changes.iter().map(|count| count.load(Relaxed));
    let (least, most) = (each.clone().min().unwrap(), each.max().unwrap());
    println!(
        "{} changes of {CALLERS} callers, {least} to {most} each, {} told again, refusals {:?}; {kills} kills; the longest took {longest:?}",
        fleet.changes(),
        fleet.repetitions.load(Relaxed),
        fleet.codes.lock().unwrap(),
    );
}
