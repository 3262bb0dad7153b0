//! All hostile guests on one host, one after another and then all at once, beside a tenant that only does its work.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;
use serde_json::json;
use tokio::task::JoinSet;

use crate::fixture::{Builder, Host, wait_for};
use crate::guests::{Ends, ends};

/// How long all are at work at once, in seconds, unless `NAMELOCK_HOSTILE_SECONDS` says otherwise.
const SECONDS: u64 = 5;

/// How often the well-behaved tenant is called.
const PERIOD: Duration = Duration::from_millis(20);

/// Leases are short enough for a guest to outlive its own, and long enough for everybody else on a busy machine.
const CONFIG: &str = "[lock]\nlease = \"5s\"\n[names]\nbusy_timeout = \"500ms\"\n[limits.max]\nwall_time = \"10s\"\n";

/// For guests that run out of time: soon, so that there are many rounds.
const SHORT: &str = "[limits]\nmemory = \"16MiB\"\ncpu_time = \"50ms\"\nwall_time = \"300ms\"\n";

/// For the others: enough time on a machine that is as busy as this test makes it.
const LONG: &str = "[limits]\nmemory = \"16MiB\"\ncpu_time = \"1s\"\nwall_time = \"10s\"\n";

/// How many calls were answered with each code, by guest.
type Answers = BTreeMap<(&'static str, String), usize>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_guest_is_felt_by_anybody_else() {
    let seconds = std::env::var("NAMELOCK_HOSTILE_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let memcached = Memcached::start();
    let mut builder = Builder::new()
        .config(CONFIG)
        .lock(&memcached)
        .tenant("good", guests::PLAIN, "");
    for ((name, component), (_, ends)) in guests::ALL.iter().zip(ends()) {
        let limits = if ends.1 == "handler_deadline" { SHORT } else { LONG };
        builder = builder.tenant(&id(name), component, limits);
    }
    let host = Arc::new(builder.start());
    host.wait_until_ready();

    let begin = Instant::now();
    for (name, ends) in ends() {
        let client = client();
        let code = post(&client, &host, &id(name), "one by one").await;
        assert_eq!(code, ends.1, "{name}");
        no_lock_is_left(&memcached).await;
    }
    println!("one after another: {:.1} s", begin.elapsed().as_secs_f64());

    // Fills the pool's places with as much as they keep between calls, which takes a while: a place is used again by whoever
    // had it last, so others get new ones.
    all_at_once(&host, "warm up", Duration::from_secs(seconds.max(10))).await;
    let before = usage(&host).await;
    let (answers, times) = all_at_once(&host, "all at once", Duration::from_secs(seconds)).await;
    no_lock_is_left(&memcached).await;
    let after = usage(&host).await;

    report(&answers, &times);
    println!(
        "resident: {} KiB before, {} KiB after",
        before.resident_kib, after.resident_kib
    );
    println!("file descriptors: {} before, {} after", before.files, after.files);
    assert!(
        after.resident_kib <= before.resident_kib * 11 / 10,
        "memory was not given back"
    );
    assert_eq!(after.files, before.files, "a file or socket was left open");
}

/// Calls every guest without a pause, and the tenant `good` at its steady rate; tells all answers, and how long those of `good`
/// took.
async fn all_at_once(host: &Arc<Host>, round: &'static str, time: Duration) -> (Answers, Vec<Duration>) {
    let end = Instant::now() + time;
    let mut hostile = JoinSet::new();
    for (name, ends) in ends() {
        hostile.spawn(attack(Arc::clone(host), name, ends, round, end));
    }
    let times = behave(host, round, end).await;
    let mut answers = Answers::new();
    while let Some(done) = hostile.join_next().await {
        let (name, codes) = done.unwrap();
        for (code, count) in codes {
            answers.insert((name, code), count);
        }
    }
    (answers, times)
}

async fn attack(
    host: Arc<Host>,
    name: &'static str,
    ends: Ends,
    round: &'static str,
    end: Instant,
) -> (&'static str, BTreeMap<String, usize>) {
    let (client, tenant) = (client(), id(name));
    let mut codes = BTreeMap::new();
    for number in 0.. {
        if Instant::now() >= end {
            break;
        }
        let code = post(&client, &host, &tenant, &format!("{round} {number}")).await;
        assert_eq!(code, ends.1, "{name}");
        *codes.entry(code).or_insert(0) += 1;
    }
    (name, codes)
}

/// Registers names at a steady rate, whether or not earlier ones were answered, and tells how long each took.
async fn behave(host: &Arc<Host>, round: &'static str, end: Instant) -> Vec<Duration> {
    let client = client();
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(PERIOD);
    while Instant::now() < end {
        ticks.tick().await;
        let (client, host, name) = (client.clone(), Arc::clone(host), format!("{round} {}", calls.len()));
        let begin = Instant::now();
        calls.spawn(async move {
            let code = post(&client, &host, "good", &name).await;
            assert_eq!(code, "201", "the well-behaved tenant was hurt");
            begin.elapsed()
        });
    }
    let mut times = calls.join_all().await;
    times.sort_unstable();
    times
}

/// Registers a name and tells the code of the answer; of a success, its status.
async fn post(client: &reqwest::Client, host: &Host, tenant: &str, name: &str) -> String {
    let body = json!({ "name": name, "owner": "eve", "attributes": { "hold_ms": "60000" } });
    let request = client.post(format!("{}/v1/{tenant}/names", host.url)).json(&body);
    let response = request.send().await.unwrap_or_else(|error| panic!("{tenant}: {error}"));
    let status = response.status();
    let body: serde_json::Value = response.json().await.unwrap();
    body["code"]
        .as_str()
        .map_or_else(|| status.as_str().to_owned(), str::to_owned)
}

async fn no_lock_is_left(memcached: &Memcached) {
    let gone = wait_for(Duration::from_millis(200), || memcached.raw().lock_keys().is_empty()).await;
    assert!(gone.is_some(), "{:?} are left", memcached.raw().lock_keys());
}

/// What a host takes of its machine.
struct Usage {
    resident_kib: u64,
    files: usize,
}

/// What the host takes once it has noticed that its callers are gone.
async fn usage(host: &Host) -> Usage {
    let process = format!("/proc/{}", host.process.id());
    let files = || fs::read_dir(format!("{process}/fd")).unwrap().count();
    let mut least = files();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        least = least.min(files());
    }
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Usage {
        resident_kib: resident.unwrap().trim().trim_end_matches(" kB").parse().unwrap(),
        files: least,
    }
}

fn report(answers: &Answers, times: &[Duration]) {
    for ((name, code), count) in answers {
        println!("{name:<24} {code:<24} {count:>7}");
    }
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
    println!(
        "the well-behaved tenant: {} calls, all 201, p50 {:.1} ms, p99 {:.1} ms",
        times.len(),
        at(50),
        at(99)
    );
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

/// The id of the tenant who runs this guest: ids have no underscores.
fn id(guest: &str) -> String {
    guest.replace('_', "-")
}
