//! What an operator watches a host by: its metrics, and the alerts and the dashboard that are made of them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;
use serde_json::{Value, json};

use crate::admin::namelock_admin;
use crate::fixture::{Builder, Host, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken};

pub(crate) const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/monitoring/dashboard.json"
));

/// What not every host has: the first is there once something was refused, the next with PostgreSQL, the last with TLS.
const ELSEWHERE: [&str; 3] = [
    "namelock_tenant_refusals_total",
    "namelock_clock_age_seconds",
    "namelock_tls_certificate_not_after_seconds",
];

async fn metrics(host: &Host) -> String {
    host.admin("/metrics").await.body.as_str().unwrap().to_owned()
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> f64 {
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("{series} is not in\n{metrics}"))
        .parse()
        .unwrap()
}

/// The sum of all series that begin so.
fn sum(metrics: &str, prefix: &str) -> f64 {
    let values = metrics.lines().filter(|line| line.starts_with(prefix));
    values
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs promtool: run `make setup-prometheus`, or on Debian `apt-get install prometheus`");
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "promtool {arguments:?}: {said:?}");
}

/// The names of metrics in a text, without what a histogram's series add.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c));
    let ours = words.filter(|word| word.starts_with("namelock_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_of_the_alerts_and_the_dashboard_exists_and_promtool_agrees() {
    let memcached = Memcached::start();
    let host = Builder::new().lock(&memcached).demo().start();
    host.wait_until_ready();
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    // What the last one of these refuses makes the series of refusals.
    let longest = "x".repeat(2000);
    assert_eq!(host.post("demo", &longest, "ann").await.status, 422);
    let metrics = metrics(&host).await;
    promtool(&["check", "metrics"], &metrics);
    promtool(&["check", "rules", ALERTS], "");

    let exist: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned())
        .chain(ELSEWHERE.map(str::to_owned))
        .collect();
    let panels: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(panels["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    for (file, text) in [
        ("alerts.yml", std::fs::read_to_string(ALERTS).unwrap()),
        ("dashboard.json", DASHBOARD.to_owned()),
    ] {
        let named = names(&text);
        assert!(named.len() > 5, "{file} names only {named:?}");
        let missing: Vec<_> = named.difference(&exist).collect();
        assert!(
            missing.is_empty(),
            "{file} names {missing:?}, which a host does not have:\n{metrics}"
        );
    }
}

#[tokio::test]
async fn the_phases_of_all_requests_add_up_to_their_durations() {
    let memcached = Memcached::start();
    let host = Builder::new().lock(&memcached).demo().start();
    host.wait_until_ready();
    for number in 0..50 {
        let name = format!("room {number}");
        assert_eq!(host.post("demo", &name, "ann").await.status, 201);
        assert_eq!(host.get("demo", &format!("room%20{number}")).await.status, 200);
    }
    let metrics = metrics(&host).await;
    let phases = sum(&metrics, "namelock_request_phase_seconds_sum");
    let durations = sum(&metrics, "namelock_request_duration_seconds_sum");
    assert!((phases / durations - 1.0).abs() < 0.05, "{phases} of {durations}");
    for (phase, at_least) in [
        ("queue", 100.0),
        ("instantiate", 50.0),
        ("guest", 50.0),
        ("acquire", 50.0),
        ("find", 100.0),
        ("save", 50.0),
    ] {
        let count = value(
            &metrics,
            &format!("namelock_request_phase_seconds_count{{phase=\"{phase}\"}}"),
        );
        assert!(count >= at_least, "{phase}: {count}");
    }
}

#[tokio::test]
async fn a_lock_that_is_held_is_counted() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(LONG_LEASES)
        .lock(&memcached)
        .tenant("slow", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    host.wait_until_ready();
    let body = json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "200000" } });
    let held = host.post_json("slow", &body);
    let looked = async {
        lock_is_taken(&memcached).await;
        eventually("the lock is counted as held", async || {
            value(&metrics(&host).await, "namelock_locks_held") >= 1.0
        })
        .await;
        let metrics = metrics(&host).await;
        assert!(value(&metrics, "namelock_calls_running") >= 1.0);
        assert!(sum(&metrics, "namelock_memcached_up") >= 1.0);
        assert!(sum(&metrics, "namelock_memcached_operations_total") >= 1.0);
    };
    tokio::select! {
        answer = held => panic!("the call has ended: {answer:?}"),
        () = looked => {}
    }
    eventually("nobody holds it any more", async || {
        value(&metrics(&host).await, "namelock_locks_held") == 0.0
    })
    .await;
}

// Shows P5: a call whose lease was ended writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_who_holds_a_lock_and_who_waits_and_ends_the_lease() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(LONG_LEASES)
        .lock(&memcached)
        // It waits for the name that it holds itself.
        .tenant("slow", guests::WAIT_LONG, LONG_CALLS)
        .start();
    host.wait_until_ready();
    let looked = async {
        lock_is_taken(&memcached).await;
        let mut held = Value::Null;
        eventually("a call waits for the lock", async || {
            held = host.admin("/locks").await.body;
            held[0]["waiting"] == 1
        })
        .await;
        assert_eq!(held.as_array().unwrap().len(), 1);
        let (code, said) = namelock_admin(&host, &["locks"]);
        assert_eq!(code, Some(0), "{said}");
        let row: Vec<_> = said.lines().nth(1).unwrap().split_whitespace().collect();
        let id = held[0]["id"].to_string();
        assert_eq!(row[..3], [&id, "slow", held[0]["digest"].as_str().unwrap()], "{said}");
        let (code, said) = namelock_admin(&host, &["end-lease", &id]);
        assert_eq!((code, said), (Some(0), format!("the lease {id} was ended\n")));
        // Nobody has that one any more.
        eventually("the lease has gone", async || {
            namelock_admin(&host, &["end-lease", &id]).0 == Some(1)
        })
        .await;
    };
    // The lease on its key is the host's own, and not listed.
    let body = json!({ "name": "room", "owner": "ann" });
    let (ended, ()) = tokio::join!(host.post_keyed("slow", "key-1", &body), looked);
    ended.is_problem(503, "lease_lost");
    // It was not the handler that took long.
    let detail = ended.body["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the lock was lost before the tenant's handler was done"),
        "{detail}"
    );
    assert_eq!(host.get("slow", "room").await.status, 404);
    eventually("the lock was given back", async || {
        memcached.raw().lock_keys().is_empty()
    })
    .await;
}

#[tokio::test]
async fn who_asks_no_host_is_told_where_it_was_looked_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_namelock"))
        .args(["admin", "--admin", "127.0.0.1:1", "ready"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("no host answers at 127.0.0.1:1; pass the address of its admin listener with --admin"),
        "{said}"
    );
}

#[tokio::test]
async fn a_log_in_json_has_an_object_in_each_line_with_the_phases_of_the_request() {
    let builder = Builder::new().log("info,namelock::telemetry=debug").demo();
    let mut command = builder.command();
    command.env("NAMELOCK_LOG_FORMAT", "json");
    let host = builder.start_command(command);
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    let log = host.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let of_request = |line: &&Value| line["operation"] == "register";
    let line = lines.iter().find(of_request).unwrap_or_else(|| panic!("{log}"));
    assert_eq!(
        (&line["code"], &line["tenant"], &line["level"]),
        (&json!("ok"), &json!("demo"), &json!("DEBUG"))
    );
    let phases = line["phases_ms"].as_str().unwrap();
    assert!(phases.contains("guest=") && phases.contains("save="), "{phases}");
    assert!(lines.iter().any(|line| line["version"].is_string()), "{log}");
}
