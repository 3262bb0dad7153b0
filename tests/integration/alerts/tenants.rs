//! What tenants and their callers do to a host.

use std::fs;
use std::process::Stdio;

use namelock_test_artifacts::guests;
use serde_json::json;

use super::faults::Fault;
use super::{Watch, instance};
use crate::fixture::Builder;

/// Room for one call, and a wait for a lock that is long for whoever waits and short for a test.
const CONFIG: &str = r#"
    [http]
    calls = 1
    [lock]
    max_wait = "1500ms"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tenants_and_callers_do_raises_alerts() {
    let watch = Watch::start();
    tokio::join!(
        a_component_is_refused_and_a_handler_traps(&watch),
        a_name_is_hot_and_calls_take_long(&watch),
        nobody_reads_the_log(&watch)
    );
}

async fn a_component_is_refused_and_a_handler_traps(watch: &Watch) {
    let host = Builder::new().tenant("trap", guests::TRAP_HOLDING_LEASE, "").start();
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let instance = instance(&host);

    let refused = [("state", "unavailable"), ("instance", &*instance)];
    watch
        .raises(Fault::ComponentIsRefused, &refused, || {
            let dir = host.tenant("bad");
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("handler.wasm"), "no component").unwrap();
            host.process.signal("HUP");
        })
        .await;
    fs::remove_dir_all(host.tenant("bad")).unwrap();
    host.process.signal("HUP");
    watch.is_quiet(Fault::ComponentIsRefused, &refused).await;

    let trapped = [("tenant", "trap"), ("code", "handler_trapped")];
    watch.is_quiet(Fault::HandlerTraps, &trapped).await;
    watch
        .raises_while(Fault::HandlerTraps, &trapped, async || {
            host.post("trap", "room", "ann")
                .await
                .is_problem(500, "handler_trapped");
        })
        .await;
}

async fn a_name_is_hot_and_calls_take_long(watch: &Watch) {
    let host = Builder::new()
        .config(CONFIG)
        // It waits for the name that it holds itself.
        .tenant("hot", guests::WAIT_LONG, "")
        .tenant("slow", guests::SLEEP_HOLDING_LEASE, "")
        .start();
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let instance = instance(&host);
    let of_host = [("instance", &*instance)];
    for fault in [Fault::NameIsHot, Fault::HandlersTakeLong, Fault::HostIsFull] {
        watch.is_quiet(fault, &of_host).await;
    }

    watch
        .raises_while(Fault::NameIsHot, &of_host, async || {
            host.post("hot", "room", "ann").await.is_problem(423, "name_busy");
        })
        .await;
    let slow = |name: &str| json!({ "name": name, "owner": "ann", "attributes": { "hold_ms": "1500" } });
    watch
        .raises_while(Fault::HandlersTakeLong, &of_host, async || {
            host.post_json("slow", &slow("a")).await;
        })
        .await;
    let (a, b, c) = (slow("a"), slow("b"), slow("c"));
    let callers = async || {
        loop {
            tokio::join!(
                host.post_json("slow", &a),
                host.post_json("slow", &b),
                host.post_json("slow", &c)
            );
        }
    };
    tokio::select! {
        () = watch.raises_while(Fault::HostIsFull, &of_host, async || {}) => {}
        () = callers() => {}
    }
}

async fn nobody_reads_the_log(watch: &Watch) {
    let config = r#"
        [log]
        queue = "64KiB"
    "#;
    let builder = Builder::new().config(config).log("debug").demo();
    let host = builder.start_with_stderr(Stdio::piped());
    host.wait_until_ready();
    watch.begin(&[&host]).await;
    let instance = instance(&host);
    let of_host = [("instance", &*instance)];
    watch.is_quiet(Fault::NobodyReadsTheLog, &of_host).await;
    watch
        .raises_while(Fault::NobodyReadsTheLog, &of_host, async || {
            futures_util::future::join_all((0..20).map(|_| host.get("demo", "a"))).await;
        })
        .await;
}
