//! All hostile guests on one host, one after another and then all at once, beside a tenant that only does its work.
//!
//! This measures a whole host, so it is a test binary of its own, and nothing runs beside it: `cargo test` runs one
//! binary after another, and `.config/nextest.toml` says the same to nextest. No bound depends on how fast the machine
//! is. What takes longer than [`DEADLINE`] never happens at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;
use serde_json::json;
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::fixture::{Builder, DEADLINE, Host, eventually, no_lock_is_left};

/// How long the last round lasts, in seconds, unless `NAMELOCK_HOSTILE_SECONDS` says otherwise.
const SECONDS: u64 = 5;

/// How long each round before it lasts at least.
const WARM_UP: Duration = Duration::from_secs(5);

/// How often each guest is called in a round at least: a slow machine takes longer for the same work.
const CALLS_MIN: usize = 5;

/// The host is warm once its memory has not grown by more than two percent in this many rounds in a row.
const STEADY_ROUNDS: usize = 3;

/// A host whose memory still grows after this many rounds leaks.
const ROUNDS_MAX: usize = 30;

/// How often the well-behaved tenant calls, and how many of its calls are under way at most. That is a fraction of its
/// `limits.calls`, so it never waits for itself, however long its calls take.
const PERIOD: Duration = Duration::from_millis(20);
const IN_FLIGHT_MAX: usize = 16;

/// Leases last longer than the test waits for anything, so a lock that is gone was released and did not expire.
const CONFIG: &str = r#"
    [lock]
    lease = "5m"
    max_hold = "5m"
    exchange_timeout = "5s"
    [names]
    busy_timeout = "30s"
    [limits.max]
    cpu_time = "30s"
    wall_time = "2m"
"#;

/// For guests that end when their time is over: soon, so that there are many rounds.
const SHORT: &str = r#"
    [limits]
    memory = "16MiB"
    cpu_time = "50ms"
    wall_time = "300ms"
"#;

/// For the others, also for the well-behaved one: enough time on a machine that is as busy as this test makes it.
const LONG: &str = r#"
    [limits]
    memory = "16MiB"
    cpu_time = "30s"
    wall_time = "2m"
"#;

/// A guest, and the code with which its calls end here.
type Guest = (&'static str, &'static str);

/// How many calls were answered with each code, by guest.
type Answers = BTreeMap<Guest, usize>;

// Shows P3: however a call ends, its locks are released by the host, long before they would expire.
// Shows P6: whatever hostile tenants do, another tenant is served, and memory and files are given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_guest_is_felt_by_anybody_else() {
    let seconds = std::env::var("NAMELOCK_HOSTILE_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let memcached = Memcached::start();
    let mut builder = Builder::new()
        .config(CONFIG)
        .lock(&memcached)
        .tenant("good", guests::PLAIN, LONG);
    for ((name, code), (_, component)) in hostile().into_iter().zip(guests::ALL) {
        let limits = if code == ends::DEADLINE { SHORT } else { LONG };
        builder = builder.tenant(&id(name), component, limits);
    }
    let host = Arc::new(builder.start());
    host.wait_until_ready();

    let begin = Instant::now();
    for (name, expect) in hostile() {
        let code = post(&client(), &host, &id(name), "one by one").await;
        assert_eq!(code, expect, "{name}");
        no_lock_is_left(&memcached).await;
    }
    println!("one after another: {:.1} s", begin.elapsed().as_secs_f64());

    let before = warm_up(&host).await;
    let (answers, times) = all_at_once(&host, "all at once", Duration::from_secs(seconds)).await;
    no_lock_is_left(&memcached).await;
    report(&answers, &times);
    println!(
        "resident: {} KiB before, {} KiB after",
        before.resident_kib,
        resident_kib(&host)
    );
    // Places of the pool that were not used before may keep their share too, so some growth is no leak.
    let most = before.resident_kib * 120 / 100;
    eventually("memory is given back", async || resident_kib(&host) <= most).await;
    // The host closes a connection once it has noticed that its caller is gone.
    eventually("no file or socket is left open", async || files(&host) <= before.files).await;
}

/// Every guest with the code that its calls end with here.
fn hostile() -> Vec<Guest> {
    let mut all = Vec::new();
    macro_rules! push {
        ($guest:ident) => {
            let (_, code) = ends::$guest::ENDS;
            all.push((stringify!($guest), code));
        };
    }
    namelock_test_artifacts::foreach_guest!(push);
    for (_, code) in &mut all {
        // It waits for the end of its lease, which is longer here than anything may take.
        if *code == ends::save_too_late::ENDS.1 {
            *code = ends::DEADLINE;
        }
    }
    all
}

/// What a host takes of its machine.
struct Usage {
    resident_kib: u64,
    files: usize,
}

/// Calls all guests, round by round, until the host's memory grows no more, and tells the most that it has used.
///
/// Each place of the instance pool keeps some memory between calls, and it takes a while until every place has been
/// used: a place goes first to whoever had it last.
async fn warm_up(host: &Arc<Host>) -> Usage {
    let (mut most, mut steady, mut history) = (0, 0, Vec::new());
    while steady < STEADY_ROUNDS {
        assert!(
            history.len() < ROUNDS_MAX,
            "memory grows in every round: {history:?} KiB"
        );
        all_at_once(host, &format!("warm up {}", history.len()), WARM_UP).await;
        let now = resident_kib(host);
        steady = if now <= most * 102 / 100 { steady + 1 } else { 0 };
        most = most.max(now);
        history.push(now);
    }
    println!("resident after each round: {history:?} KiB");
    Usage {
        resident_kib: most,
        files: least_files(host).await,
    }
}

/// Calls every guest without a pause, and the tenant `good` at its steady rate; tells all answers, and how long those of `good`
/// took.
async fn all_at_once(host: &Arc<Host>, round: &str, time: Duration) -> (Answers, Vec<Duration>) {
    let end = Instant::now() + time;
    let mut attacks = JoinSet::new();
    for guest in hostile() {
        attacks.spawn(attack(Arc::clone(host), guest, round.to_owned(), end));
    }
    let times = behave(host, round, end).await;
    let mut answers = Answers::new();
    while let Some(done) = attacks.join_next().await {
        let (guest, count) = done.unwrap();
        answers.insert(guest, count);
    }
    (answers, times)
}

/// Calls a guest again and again, checks how each call ends, and tells how many there were.
async fn attack(host: Arc<Host>, guest: Guest, round: String, end: Instant) -> (Guest, usize) {
    let (client, (name, expect)) = (client(), guest);
    let mut count = 0;
    while Instant::now() < end || count < CALLS_MIN {
        let code = post(&client, &host, &id(name), &format!("{round} {count}")).await;
        assert_eq!(code, expect, "{name}: {}", said_of(&host, &id(name)));
        count += 1;
    }
    (guest, count)
}

/// The last lines of the host's log about a tenant that say that something went wrong.
fn said_of(host: &Host, tenant: &str) -> String {
    let (log, tenant) = (host.log(), format!("tenant=\"{tenant}\""));
    let lines = log
        .lines()
        .rev()
        .filter(|line| line.contains(&tenant) && line.contains("broke down"));
    lines.take(3).collect::<Vec<_>>().join("\n")
}

/// Registers names at a steady rate as long as not too many calls are unanswered, and tells how long each took.
async fn behave(host: &Arc<Host>, round: &str, end: Instant) -> Vec<Duration> {
    let (client, mut calls, mut times) = (client(), JoinSet::new(), Vec::new());
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        if Instant::now() >= end {
            break;
        }
        ticks.tick().await;
        while calls.len() >= IN_FLIGHT_MAX {
            times.extend(calls.join_next().await.map(Result::<_, JoinError>::unwrap));
        }
        let (client, host, name) = (client.clone(), Arc::clone(host), format!("{round} {number}"));
        calls.spawn(async move {
            let begin = Instant::now();
            let code = post(&client, &host, "good", &name).await;
            assert_eq!(code, "201", "the well-behaved tenant was hurt");
            begin.elapsed()
        });
    }
    times.extend(calls.join_all().await);
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

/// How much memory the host has now.
fn resident_kib(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.process.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many files and sockets the host has open now.
fn files(host: &Host) -> usize {
    fs::read_dir(format!("/proc/{}/fd", host.process.id())).unwrap().count()
}

/// How many it has open at least, once it has noticed that its callers are gone.
async fn least_files(host: &Host) -> usize {
    let mut least = files(host);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        least = least.min(files(host));
    }
    least
}

fn report(answers: &Answers, times: &[Duration]) {
    for ((name, code), count) in answers {
        println!("{name:<24} {code:<24} {count:>7}");
    }
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "the well-behaved tenant: {} calls, all 201, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(2 * DEADLINE).build().unwrap()
}

/// The id of the tenant who runs this guest: ids have no underscores.
fn id(guest: &str) -> String {
    guest.replace('_', "-")
}
