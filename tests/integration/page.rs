//! The page of the admin listener, in a real browser; and what keeps other sites from using that listener.

use std::path::Path;

use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::{Memcached, Process};
use reqwest::Method;
use serde_json::json;

use crate::fixture::{Builder, DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Calls that wait for a name do so while a test looks at them, also on a slow machine.
pub(crate) fn long_waits() -> String {
    LONG_LEASES.replace("[lock]", "[lock]\nmax_wait = \"4m\"")
}

/// Does one of the things that `tests/page/test.mjs` can do, with the page of this host.
async fn browse(host: &Host, what: &str) {
    let installed = Path::new(ROOT).join("tests/page/node_modules/.installed-lock.json");
    assert!(
        installed.exists(),
        "{} is missing: run `make setup-chromium`",
        installed.display()
    );
    let mut node = Process::command("env", "it is part of the platform");
    let path = std::env::var("PATH").unwrap_or_default();
    node.env("PATH", format!("{ROOT}/target/node/bin:{path}"))
        .env("ADMIN", &host.admin)
        .env("API", &host.url)
        .env("HOST_PID", host.process.id().to_string())
        .env("PICTURES", format!("{ROOT}/target/page"))
        .current_dir(Path::new(ROOT).join("tests/page"))
        .args(["node", "test.mjs", what]);
    let output = tokio::task::spawn_blocking(move || node.output().unwrap())
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}", said.concat());
    assert!(output.status.success(), "{what}: {}\n{}", said.concat(), host.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_a_tenant_shows_on_the_page_within_two_seconds() {
    let host = Builder::new()
        .demo()
        .tenant("traps", guests::TRAP_HOLDING_LEASE, "")
        .start();
    browse(&host, "a fault").await;
}

// Shows P5: a call whose lease was ended writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_alone_finds_a_lock_that_is_held_and_waited_for_and_ends_its_lease() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(&long_waits())
        .lock(&memcached)
        .demo()
        .tenant("traps", guests::TRAP_HOLDING_LEASE, "")
        // It waits for the name that it holds itself.
        .tenant("slow", guests::WAIT_LONG, LONG_CALLS)
        .start();
    host.wait_until_ready();
    browse(&host, "the keyboard").await;
    assert_eq!(host.get("slow", "room").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_that_there_is_nothing_that_the_host_is_stopping_and_that_it_is_gone() {
    let mut host = Builder::new().config("http.lame_duck = '10m'\n").start();
    browse(&host, "its states").await;
    assert_eq!(host.process.wait(DEADLINE).unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_can_be_read_in_light_and_dark_and_on_a_telephone() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(&long_waits())
        .lock(&memcached)
        .demo()
        .tenant("acme", ROOMS, "")
        .tenant("rooms-of-a-hotel", ROOMS, "limits = { rate = 40, burst = 90 }")
        .tenant("traps", guests::TRAP_HOLDING_LEASE, "")
        .tenant("slow", guests::WAIT_LONG, LONG_CALLS)
        .tenant("sleepy", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .tenant_bytes("broken", b"this is no component", "")
        .start();
    host.wait_until_ready();
    browse(&host, "how it looks").await;
}

#[tokio::test]
async fn another_site_can_neither_change_nor_read_anything() {
    let config = "admin.hosts = ['host-3.example.net']\n";
    let host = Builder::new().config(config).demo().start();
    let own = host.admin.clone();
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let answer = host.send(|client, _| {
            let request = client.request(method, format!("{own}{path}"));
            headers
                .iter()
                .fold(request, |request, (name, value)| request.header(*name, *value))
        });
        answer.await.status
    };
    // There is no such lease, which is found out only for those who may end one.
    let asked: [(&[(&str, &str)], u16); 6] = [
        (&[], 404),
        (&[("origin", own.as_str())], 404),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", own.as_str()), ("sec-fetch-site", "cross-site")], 403),
        (&[("host", "evil.example")], 421),
        (&[("host", "host-3.example.net:8081")], 404),
    ];
    for (headers, status) in asked {
        assert_eq!(ask(Method::DELETE, "/locks/1", headers).await, status, "{headers:?}");
    }
    let evil = [("host", "evil.example")];
    for (path, status) in [
        ("/", 421),
        ("/overview", 421),
        ("/tenants", 421),
        ("/readyz", 200),
        ("/metrics", 200),
    ] {
        assert_eq!(ask(Method::GET, path, &evil).await, status, "{path}");
    }
}

#[tokio::test]
async fn the_page_comes_with_a_policy_that_lets_nothing_else_in() {
    let host = Builder::new().start();
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = host.admin(path).await;
        assert_eq!(answer.status, 200, "{path}");
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert!(
            header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
    }
}

#[tokio::test]
async fn the_overview_is_bounded_and_can_be_asked_for_some_tenants() {
    let builder = (0..6).fold(Builder::new(), |builder, number| {
        builder.tenant(&format!("t{number}"), ROOMS, "")
    });
    let host = builder.tenant_bytes("broken", b"this is no component", "").start();
    assert_eq!(host.post("t3", "room", "ann").await.status, 201);
    let tenants = async |query: &str| host.admin(&format!("/overview?{query}")).await.body["tenants"].clone();
    eventually("the busiest comes first", async || {
        tenants("").await["rows"][0]["tenant"] == "t3"
    })
    .await;
    let all = tenants("limit=2").await;
    assert_eq!(
        (&all["total"], &all["matching"], &all["not_serving"]),
        (&json!(7), &json!(7), &json!(1))
    );
    assert_eq!(all["rows"].as_array().unwrap().len(), 2);
    let row = &all["rows"][0];
    assert!(
        row["rate"].as_f64() > Some(0.0) && row["p99_ms"].as_f64() > Some(0.0),
        "{row}"
    );
    assert_eq!(row["history"]["requests"].as_array().unwrap().len(), 60);
    let some = tenants("tenant=t4").await;
    assert_eq!(
        (&some["matching"], &some["rows"][0]["tenant"]),
        (&json!(1), &json!("t4"))
    );
    let refused = tenants("sort=state&limit=1").await;
    assert_eq!(refused["rows"][0]["state"], "unavailable");
    assert!(
        refused["rows"][0]["refused"]
            .as_str()
            .is_some_and(|why| why.contains("no WebAssembly binary"))
    );
    for wrong in ["sort=size", "limit=-1", "page=2"] {
        assert_eq!(host.admin(&format!("/overview?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn how_much_a_tenant_keeps_is_known_without_a_question_for_it() {
    let host = Builder::new().demo().start();
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    // One that was just started has written nothing itself.
    let host = host.crash_and_start();
    eventually("the metric has the row", async || {
        let metrics = host.admin("/metrics").await.body;
        metrics
            .as_str()
            .unwrap()
            .contains("namelock_tenant_registrations{tenant=\"demo\"} 1")
    })
    .await;
}
