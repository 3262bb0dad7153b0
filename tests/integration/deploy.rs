//! New versions of components come into use while the host serves: a bad one never does, and there is a way back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_test_artifacts::{ROOMS, guests, numbered, wants_http};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::admin::namelock_admin;
use crate::fixture::{Answer, Builder, Host, eventually};

/// How many components are put by the first test, and how many requests it makes in a second meanwhile, unless
/// `NAMELOCK_DEPLOYS` and `NAMELOCK_DEPLOY_RATE` say otherwise.
const DEPLOYS: u32 = 10;
const RATE: u32 = 100;

/// For callers who come as fast as they can.
const UNHINDERED: &str = "[limits]\nrate = 1000000\nburst = 1000000\nregistrations = 1000000\n";

/// The header that says which component ran.
const COMPONENT: &str = "namelock-component";

/// Puts a component into a tenant's directory, as a deployment does: whole or not at all.
pub(crate) fn put(dir: &Path, component: &[u8]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("new"), component).unwrap();
    fs::rename(dir.join("new"), dir.join("handler.wasm")).unwrap();
}

pub(crate) fn rooms(number: u32) -> Vec<u8> {
    numbered(&fs::read(ROOMS).unwrap(), number)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    namelock_sandbox::Wasm::new(bytes.to_vec()).digest().to_string()
}

pub(crate) fn component_of(answer: &Answer) -> Option<String> {
    let header = answer.headers.get(COMPONENT)?;
    Some(header.to_str().unwrap().to_owned())
}

/// The component that answers a call now.
pub(crate) async fn served(host: &Host) -> String {
    let answer = host.post("demo", &format!("n{}", rand::random::<u64>()), "ann").await;
    component_of(&answer).unwrap_or_else(|| panic!("{answer:?}"))
}

pub(crate) async fn is_served(host: &Host, sha256: &str) {
    eventually(&format!("{sha256} is served"), async || served(host).await == sha256).await;
}

/// Why what the directory has is refused.
pub(crate) async fn refused(host: &Host) -> Option<String> {
    let status = host.tenant_status("demo").await;
    status["refused"].as_str().map(str::to_owned)
}

pub(crate) async fn is_refused(host: &Host, why: &str) {
    let what = format!("the component is refused: {why}");
    eventually(&what, async || {
        refused(host).await.is_some_and(|reason| reason.contains(why))
    })
    .await;
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Calls the tenant `demo` at a rate until it is told to stop; every call must succeed, and say which component ran.
async fn call_for_ever(host: Arc<Host>, rate: u32, stop: Arc<tokio::sync::Notify>) -> (usize, BTreeSet<String>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut calls, mut count, mut components) = (JoinSet::new(), 0, BTreeSet::new());
    let mut note = |answer: Answer| {
        assert_eq!(answer.status, 201, "{answer:?}");
        count += 1;
        components.insert(component_of(&answer).unwrap());
    };
    let mut name = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.notified() => break,
            _ = ticks.tick() => {}
        }
        name += 1;
        let host = Arc::clone(&host);
        calls.spawn(async move { host.post("demo", &format!("name {name}"), "ann").await });
        while calls.len() >= 64 {
            note(calls.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(answer) = calls.join_next().await {
        note(answer.unwrap());
    }
    (count, components)
}

/// What is no component, or a component that must not serve.
fn bad(number: u32) -> (Vec<u8>, &'static str) {
    match number % 5 {
        0 => (
            format!("no component {number}").into_bytes(),
            "is no WebAssembly binary",
        ),
        1 => (numbered(&wants_http(), number), "wasi:http"),
        // Cut off in the middle.
        2 => {
            let whole = rooms(number);
            (whole[..whole.len() / 2].to_vec(), "")
        }
        3 => (
            numbered(&fs::read(guests::TRAP_IN_START).unwrap(), number),
            "does not start",
        ),
        // It works, and refuses the request of the canary.
        _ => (
            numbered(&fs::read(guests::TRAP_HOLDING_LEASE).unwrap(), number),
            "[canary.request]",
        ),
    }
}

// One in five is bad, as in the must-show of 50 in a minute at 1,000 a second.
#[tokio::test]
async fn no_request_fails_while_components_are_replaced_and_no_bad_one_ever_serves() {
    let (deploys, rate) = (
        number("NAMELOCK_DEPLOYS", DEPLOYS),
        number("NAMELOCK_DEPLOY_RATE", RATE),
    );
    let toml = "canary.request = {name = 'a', owner = 'ann'}";
    let host = Builder::new()
        .config(UNHINDERED)
        .tenant_bytes("demo", &rooms(0), toml)
        .start();
    let (host, stop) = (Arc::new(host), Arc::new(tokio::sync::Notify::new()));
    let began = Instant::now();
    let calls = tokio::spawn(call_for_ever(Arc::clone(&host), rate, Arc::clone(&stop)));
    let mut good = BTreeSet::from([sha256(&rooms(0))]);
    let mut now = sha256(&rooms(0));
    for number in 1..=deploys {
        if number % 5 == 0 {
            let (component, why) = bad(number / 5);
            put(&host.tenant("demo"), &component);
            is_refused(&host, why).await;
            assert_eq!(served(&host).await, now);
        } else {
            let component = rooms(number);
            now = sha256(&component);
            good.insert(now.clone());
            put(&host.tenant("demo"), &component);
            is_served(&host, &now).await;
            assert_eq!(refused(&host).await, None);
        }
    }
    stop.notify_one();
    let (count, ran) = calls.await.unwrap();
    println!(
        "{count} requests in {:?} while {deploys} components were put; {} of them ran",
        began.elapsed(),
        ran.len()
    );
    assert!(ran.is_subset(&good), "{ran:?} are not all of {good:?}");
    assert!(ran.contains(&now) && ran.len() > 1, "{ran:?}");
}

#[tokio::test]
async fn a_call_that_runs_ends_on_the_version_that_it_began_with() {
    let config = crate::fixture::LONG_CALLS;
    let host = Builder::new()
        .config(config)
        .tenant("demo", guests::SLEEP_HOLDING_LEASE, "")
        .start();
    let old = sha256(&fs::read(guests::SLEEP_HOLDING_LEASE).unwrap());
    let running = async {
        let body = json!({"name": "room", "owner": "ann", "attributes": {"hold_ms": "1500"}});
        host.post_json("demo", &body).await
    };
    let replaced = async {
        eventually("a call runs", async || {
            host.tenant_status("demo").await["calls"]["running"] == 1
        })
        .await;
        put(&host.tenant("demo"), &rooms(1));
        is_served(&host, &sha256(&rooms(1))).await;
    };
    let (answer, ()) = tokio::join!(running, replaced);
    assert_eq!(component_of(&answer), Some(old), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_goes_back_and_holds_after_a_restart_until_another_component_is_put() {
    let mut host = Builder::new().tenant_bytes("demo", &rooms(1), "").start();
    let [one, two, three] = [1, 2, 3].map(|number| sha256(&rooms(number)));
    put(&host.tenant("demo"), &rooms(2));
    is_served(&host, &two).await;
    let began = Instant::now();
    let (code, said) = namelock_admin(&host, &["rollback", "demo"]);
    println!("rolled back after {:?}", began.elapsed());
    assert_eq!(
        (code, said.trim()),
        (Some(0), &*format!("demo is served by version {one}"))
    );
    assert_eq!(served(&host).await, one);
    let reason = refused(&host).await.unwrap();
    assert!(
        reason.contains(&format!("version {two} was taken back")) && reason.contains("--to"),
        "{reason}"
    );
    let (_, listed) = namelock_admin(&host, &["versions", "demo"]);
    assert!(listed.contains("taken back") && listed.contains("serves"), "{listed}");

    // Whatever makes the host read the directory again, what was taken back stays so.
    assert_eq!(namelock_admin(&host, &["reload"]).0, Some(0));
    host.restart(async || true).await;
    assert_eq!(served(&host).await, one);
    let (code, said) = namelock_admin(&host, &["rollback", "demo"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no version from before"), "{said}");

    // Another component is served as ever; and back by name.
    put(&host.tenant("demo"), &rooms(3));
    is_served(&host, &three).await;
    assert_eq!(refused(&host).await, None);
    assert_eq!(namelock_admin(&host, &["rollback", "demo", "--to", &two]).0, Some(0));
    assert_eq!(served(&host).await, two);
    for wrong in [&"0".repeat(64), "x"] {
        let (code, said) = namelock_admin(&host, &["rollback", "demo", "--to", wrong]);
        assert_eq!(code, Some(1), "{said}");
    }
    assert_eq!(served(&host).await, two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_finds_a_bad_component_at_its_start_serves_the_last_good_one() {
    let mut host = Builder::new().tenant_bytes("demo", &rooms(1), "").start();
    put(&host.tenant("demo"), &rooms(2));
    is_served(&host, &sha256(&rooms(2))).await;
    put(&host.tenant("demo"), b"no component");
    is_refused(&host, "is no WebAssembly binary").await;
    host.restart(async || true).await;
    assert_eq!(served(&host).await, sha256(&rooms(2)));
    assert!(refused(&host).await.is_some());
    fs::remove_file(host.tenant("demo").join("handler.wasm")).unwrap();
    host.restart(async || true).await;
    assert_eq!(served(&host).await, sha256(&rooms(2)));
}

#[tokio::test]
async fn a_component_that_is_not_the_one_that_was_pinned_does_not_serve() {
    let pinned = sha256(&rooms(1));
    let host = Builder::new()
        .tenant_bytes("demo", &rooms(1), &format!("sha256 = '{pinned}'"))
        .start();
    assert_eq!(served(&host).await, pinned);
    put(&host.tenant("demo"), &rooms(2));
    is_refused(&host, &format!("`sha256` in its tenant.toml is {pinned}")).await;
    assert_eq!(served(&host).await, pinned);
    let toml = format!("sha256 = '{}'", sha256(&rooms(2)));
    fs::write(host.tenant("demo").join("tenant.toml"), toml).unwrap();
    is_served(&host, &sha256(&rooms(2))).await;
}

/// A host whose `demo` tries new versions with half of the calls.
pub(crate) fn canary(time: &str, config: &str) -> Host {
    let toml = format!("[canary]\nshare = '50%'\nfor_ms = {time}");
    Builder::new()
        .config(&format!("{UNHINDERED}{config}"))
        .tenant_bytes("demo", &rooms(1), &toml)
        .start()
}

/// The version that is tried.
pub(crate) async fn tried(host: &Host) -> Value {
    host.tenant_status("demo").await["tried"].clone()
}

pub(crate) async fn is_tried(host: &Host, component: &[u8]) {
    put(&host.tenant("demo"), component);
    let component = sha256(component);
    eventually("a version is tried", async || {
        tried(host).await["component"] == *component
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_more_than_the_version_before_goes_back_by_itself() {
    let mut host = canary("3600000", "");
    let failing = fs::read(guests::TRAP_HOLDING_LEASE).unwrap();
    is_tried(&host, &failing).await;
    let mut faults = 0;
    let began = Instant::now();
    eventually("the canary is taken back", async || {
        let answer = host.post("demo", &format!("n{}", rand::random::<u64>()), "ann").await;
        let component = component_of(&answer).unwrap();
        assert_eq!(answer.status == 201, component == sha256(&rooms(1)), "{answer:?}");
        faults += u32::from(answer.status != 201);
        tried(&host).await.is_null()
    })
    .await;
    println!("taken back after {faults} faults and {:?}", began.elapsed());
    assert_eq!(faults, 3);
    is_refused(&host, "as a canary it failed 3 of 3 calls").await;
    for _ in 0..20 {
        assert_eq!(served(&host).await, sha256(&rooms(1)));
    }
    // It stays so, although it is still what the directory has.
    host.restart(async || true).await;
    assert!(tried(&host).await.is_null());
    assert_eq!(served(&host).await, sha256(&rooms(1)));
}

#[tokio::test]
async fn a_canary_that_does_well_serves_all_calls_when_its_time_is_over_or_an_operator_says_so() {
    let host = canary("300", "");
    is_served(&host, &sha256(&rooms(1))).await;
    put(&host.tenant("demo"), &rooms(2));
    eventually("the canary serves all calls", async || {
        tried(&host).await.is_null() && host.tenant_status("demo").await["component"] == *sha256(&rooms(2))
    })
    .await;
    let toml = "canary = '0.1%'";
    fs::write(host.tenant("demo").join("tenant.toml"), toml).unwrap();
    is_tried(&host, &rooms(3)).await;
    assert_eq!(namelock_admin(&host, &["promote", "demo"]).0, Some(0));
    assert_eq!(served(&host).await, sha256(&rooms(3)));
    let (code, said) = namelock_admin(&host, &["promote", "demo"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no version of this tenant is tried"), "{said}");
    // And back by hand.
    is_tried(&host, &rooms(4)).await;
    assert_eq!(namelock_admin(&host, &["rollback", "demo"]).0, Some(0));
    assert!(tried(&host).await.is_null());
    assert_eq!(served(&host).await, sha256(&rooms(3)));
}

#[tokio::test]
async fn what_is_wrong_with_a_canary_is_said() {
    let toml = "[canary]\nshare = '5'\nfor_ms = 99999999999\nrequest = {name = 'a', owner = 'b', expect = 'fine'}\n";
    let host = Builder::new()
        .tenant_bytes("demo", &rooms(1), &format!("sha256 = 'x'\n{toml}"))
        .start();
    let reason = refused(&host).await.unwrap();
    for words in [
        "canary.share",
        "canary.for_ms",
        "canary.request.expect: `fine` is no code",
        "sha256: `x`",
    ] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
}
