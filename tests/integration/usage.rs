//! What an operator learns of each tenant, and a log that nobody reads.

use std::io::Read;
use std::process::Stdio;

use namelock_test_artifacts::{ROOMS, guests};
use serde_json::json;

use crate::admin::namelock_admin;
use crate::fixture::{Builder, DEADLINE, Host, eventually};

/// The value of a metric; none: it is not there.
async fn metric(host: &Host, series: &str) -> Option<f64> {
    let metrics = host.admin("/metrics").await.body;
    let lines = metrics.as_str().unwrap().lines();
    let value = lines
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .next()?;
    value.parse().ok()
}

// Shows P6: what a tenant uses is booked to it and to nobody else, and an operator sees it.
#[tokio::test]
async fn an_operator_sees_what_each_tenant_uses() {
    let host = Builder::new()
        .demo()
        .tenant("traps", guests::TRAP_HOLDING_LEASE, "limits = { rate = 1, burst = 4 }")
        .tenant_bytes("broken", b"this is no component", "")
        .start();
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    host.post("demo", "a", "bob").await.is_problem(409, "name_taken");
    host.post("traps", "a", "ann").await.is_problem(500, "handler_trapped");
    for _ in 0..20 {
        host.get("traps", "a").await;
    }

    let demo = host.admin("/tenants/demo").await.body;
    assert_eq!((&demo["tenant"], &demo["state"]), (&json!("demo"), &json!("serving")));
    assert_eq!(demo["component"].as_str().map(str::len), Some(64));
    assert_eq!(
        demo["calls"],
        json!({ "running": 0, "waiting": 0, "codes": { "ok": 1, "name_taken": 1 } })
    );
    assert_eq!(demo["refusals"], json!({}));
    let near = &demo["nearness_percent"];
    assert!((1..=10).contains(&near["calls"].as_u64().unwrap()), "{near}");

    let traps = host.admin("/tenants/traps").await.body;
    assert_eq!(traps["calls"]["codes"]["handler_trapped"], 1);
    assert_eq!(traps["refusals"]["rate"], traps["calls"]["codes"]["tenant_limit"]);
    assert!(traps["refusals"]["rate"].as_u64() > Some(0), "{traps}");
    assert_eq!(traps["nearness_percent"]["rate"], 100);

    let broken = host.admin("/tenants/broken").await.body;
    assert_eq!(broken["state"], "unavailable");
    assert!(
        broken["refused"]
            .as_str()
            .is_some_and(|why| why.contains("is no WebAssembly binary")),
        "{broken}"
    );
    assert_eq!(host.admin("/tenants/nobody").await.status, 404);
    let all = host.admin("/tenants").await.body;
    assert_eq!(all["tenants"].as_array().map(Vec::len), Some(3));
    assert!(all["next"].is_null(), "{all}");
    // Whoever goes from page to page sees each of them once, and knows when he has seen all.
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = host.admin(&format!("/tenants?limit=1&after={after}")).await.body;
        seen.push(page["tenants"][0]["tenant"].clone());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, ["broken", "demo", "traps"]);
    let (code, said) = namelock_admin(&host, &["tenants", "--limit", "2"]);
    assert!(
        code == Some(0) && said.ends_with("\nthere are more; pass --after demo\n"),
        "{said}"
    );

    let requests =
        |tenant: &str, code: &str| format!("namelock_tenant_requests_total{{tenant=\"{tenant}\",code=\"{code}\"}}");
    assert_eq!(metric(&host, &requests("demo", "ok")).await, Some(1.0));
    assert_eq!(metric(&host, &requests("demo", "handler_trapped")).await, None);
    assert_eq!(metric(&host, &requests("traps", "handler_trapped")).await, Some(1.0));
}

#[tokio::test]
async fn tenants_beyond_the_busiest_are_counted_together() {
    let config = r#"
        [metrics]
        tenants = 1
    "#;
    let host = Builder::new()
        .config(config)
        .tenant("a", ROOMS, "")
        .tenant("b", ROOMS, "")
        .tenant("c", ROOMS, "")
        .start();
    for tenant in ["a", "b", "c"] {
        assert_eq!(host.post(tenant, "room", "ann").await.status, 201);
    }
    let other = r#"namelock_tenant_requests_total{tenant="other",code="ok"}"#;
    assert_eq!(metric(&host, other).await, Some(2.0));
}

// Shows P6: callers that fill the log stop nobody, also where nobody reads it.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let config = r#"
        [log]
        queue = "64KiB"
    "#;
    let builder = Builder::new().config(config).log("debug").demo();
    // The pipe holds 64 KiB, and nobody reads it.
    let host = builder.start_with_stderr(Stdio::piped());
    let requests = async {
        let mut dropped = Some(0.0);
        for number in 0.. {
            host.get("demo", &number.to_string()).await.is_problem(404, "not_found");
            if number % 50 == 49 {
                dropped = metric(&host, "namelock_log_lines_dropped_total").await;
            }
            if dropped > Some(100.0) {
                break;
            }
        }
    };
    let filled = tokio::time::timeout(5 * DEADLINE, requests).await;
    filled.expect("requests are answered until lines are dropped");
    assert_eq!(host.admin("/healthz").await.status, 200);
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
}

#[tokio::test]
async fn what_was_dropped_from_the_log_is_told_once_it_is_read() {
    let config = r#"
        [log]
        queue = "64KiB"
    "#;
    let mut host = Builder::new()
        .config(config)
        .log("debug")
        .demo()
        .start_with_stderr(Stdio::piped());
    eventually("lines are dropped", async || {
        futures_util::future::join_all((0..20).map(|_| host.get("demo", "a"))).await;
        metric(&host, "namelock_log_lines_dropped_total").await > Some(0.0)
    })
    .await;
    let mut stderr = host.process.take_stderr().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let code = tokio::task::spawn_blocking(move || host.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    let text = reader.join().unwrap().unwrap();
    assert!(
        text.contains("dropped: the log is not read as fast as it is written"),
        "{text}"
    );
}

#[tokio::test]
async fn a_setting_that_no_call_has_read_is_named() {
    let settings = "settings = { wait_ms = 0, default_lifetime_ms = 60000, colour = 'blue' }";
    let host = Builder::new().demo().tenant("t", ROOMS, settings).start();
    let unread = async || host.tenant_status("t").await["unread_settings"].clone();
    let sorted = |unread: serde_json::Value| {
        let mut keys: Vec<String> = serde_json::from_value(unread).unwrap();
        keys.sort();
        keys
    };
    assert_eq!(sorted(unread().await), ["colour", "default_lifetime_ms", "wait_ms"]);
    let body = json!({ "name": "a", "owner": "ann", "lifetime_ms": 1000 });
    assert_eq!(host.post_json("t", &body).await.status, 201);
    assert_eq!(sorted(unread().await), ["colour", "default_lifetime_ms"]);
    assert_eq!(host.post("t", "b", "ann").await.status, 201);
    assert_eq!(unread().await, json!(["colour"]));
    // It is the one that tells an operator of a typing error, so a tenant without any is told nothing.
    assert_eq!(host.tenant_status("demo").await["unread_settings"], json!(null));
    assert_eq!(
        host.admin("/tenants/t").await.body["unread_settings"],
        json!(["colour"])
    );

    std::fs::write(
        host.tenant("t").join("tenant.toml"),
        settings.replace("colour", "wait_msec"),
    )
    .unwrap();
    host.process.signal("HUP");
    eventually("the settings are new, and none of them was read", async || {
        unread().await.as_array().is_some_and(|keys| keys.len() == 3)
    })
    .await;
    assert_eq!(host.post("t", "c", "ann").await.status, 201);
    assert_eq!(unread().await, json!(["wait_msec"]));
}
