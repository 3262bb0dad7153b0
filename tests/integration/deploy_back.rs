//! Ways back and forward where something is wrong besides: what lies in the directory, or what is kept.

use std::fs;

use namelock_test_artifacts::guests;

use crate::admin::namelock_admin;
use crate::deploy::{canary, is_refused, is_served, is_tried, put, refused, rooms, served, sha256, tried};
use crate::fixture::{Builder, Host, eventually};

/// How a version stands, as `namelock admin versions` says.
fn standing(host: &Host, component: &str) -> String {
    let (code, listed) = namelock_admin(host, &["versions", "demo"]);
    assert_eq!(code, Some(0), "{listed}");
    let mut lines = listed.lines();
    let line = lines.find(|line| line.contains(component));
    line.unwrap_or_else(|| panic!("{component}: {listed}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_serves_what_it_says_whatever_lies_in_the_directory() {
    let mut host = Builder::new().tenant_bytes("demo", &rooms(1), "").start();
    let [one, two, three] = [1, 2, 3].map(|number| sha256(&rooms(number)));
    for number in [2, 3] {
        put(&host.tenant("demo"), &rooms(number));
        is_served(&host, &sha256(&rooms(number))).await;
    }
    put(&host.tenant("demo"), b"no component");
    is_refused(&host, "is no WebAssembly binary").await;
    let (code, said) = namelock_admin(&host, &["rollback", "demo"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(served(&host).await, two);
    assert!(standing(&host, &three).contains("taken back"));
    host.restart(async || true).await;
    assert_eq!(served(&host).await, two);

    // Nothing lies there.
    fs::remove_file(host.tenant("demo").join("handler.wasm")).unwrap();
    assert_eq!(namelock_admin(&host, &["reload"]).0, Some(0));
    let (code, said) = namelock_admin(&host, &["rollback", "demo"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(served(&host).await, one);
    assert!(standing(&host, &two).contains("taken back"));
    let (code, said) = namelock_admin(&host, &["rollback", "demo"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(!standing(&host, &one).contains("taken back"));
    let (code, said) = namelock_admin(&host, &["rollback", "demo", "--to", &three]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(served(&host).await, three);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_was_taken_back_stays_so_however_few_versions_are_kept() {
    let failing = fs::read(guests::TRAP_HOLDING_LEASE).unwrap();
    for keep in [0, 1] {
        let mut host = canary("3600000", &format!("[versions]\nkeep = {keep}\n"));
        is_served(&host, &sha256(&rooms(1))).await;
        is_tried(&host, &failing).await;
        eventually("the canary is taken back", async || {
            host.post("demo", &format!("n{}", rand::random::<u64>()), "ann").await;
            tried(&host).await.is_null()
        })
        .await;
        is_refused(&host, "was taken back").await;
        host.restart(async || true).await;
        is_refused(&host, "was taken back").await;
        let answer = host.post("demo", "after", "ann").await;
        // Where none is kept there is nothing else to serve.
        match keep {
            0 => answer.is_problem(503, "tenant_unavailable"),
            _ => assert_eq!(answer.status, 201, "{answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_was_removed_and_comes_again_empty_serves_nothing() {
    let mut host = Builder::new().tenant_bytes("demo", &rooms(1), "").start();
    is_served(&host, &sha256(&rooms(1))).await;
    fs::remove_dir_all(host.tenant("demo")).unwrap();
    eventually("the tenant is gone", async || {
        host.post("demo", "a", "ann").await.status == 404
    })
    .await;
    fs::create_dir(host.tenant("demo")).unwrap();
    is_refused(&host, "cannot read").await;
    host.post("demo", "a", "ann")
        .await
        .is_problem(503, "tenant_unavailable");
    host.restart(async || true).await;
    host.post("demo", "a", "ann")
        .await
        .is_problem(503, "tenant_unavailable");
    put(&host.tenant("demo"), &rooms(2));
    eventually("the tenant is served", async || {
        host.tenant_status("demo").await["state"] == "serving"
    })
    .await;
    assert_eq!(served(&host).await, sha256(&rooms(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_while_a_version_is_tried_stays_so_when_this_one_serves_all() {
    let host = canary("3600000", "");
    is_served(&host, &sha256(&rooms(1))).await;
    is_tried(&host, &rooms(2)).await;
    put(&host.tenant("demo"), b"no component");
    is_refused(&host, "is no WebAssembly binary").await;
    assert_eq!(namelock_admin(&host, &["promote", "demo"]).0, Some(0));
    assert_eq!(served(&host).await, sha256(&rooms(2)));
    assert!(refused(&host).await.is_some());
}
