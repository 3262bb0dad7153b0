//! TLS and HTTP/2 on the listeners.

mod attacks;
mod client;
mod replaced;

use std::fs;
use std::path::Path;
use std::process::Command;

use axum::body::Body;
use namelock_test_artifacts::guests;
use namelock_test_servers::{Authority, Identity};
use serde_json::{Value, json};

use self::client::{Client, Connection};
use crate::admin::admin_of;
use crate::admission::{rest, running, send};
use crate::bad_input::refusal;
use crate::fixture::{Builder, DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually};

/// Puts a certificate and its key where a host looks for them.
pub(crate) fn put(folder: &Path, identity: &Identity) {
    // As whatever renews certificates does: the new file takes the place of the old one at once.
    for (file, contents) in [("tls.crt", &identity.certificate), ("tls.key", &identity.key)] {
        let new = folder.join(format!("{file}.new"));
        fs::write(&new, contents).unwrap();
        fs::rename(new, folder.join(file)).unwrap();
    }
}

/// A host whose public listener shows a certificate of this authority; `config` comes before its section `http`.
pub(crate) fn builder(authority: &Authority, config: &str) -> Builder {
    let builder = Builder::new();
    put(builder.folder(), &authority.sign(&["127.0.0.1"]));
    let tls = "http.tls_certificate = 'tls.crt'\nhttp.tls_key = 'tls.key'\n";
    builder.config(&format!("{tls}{config}"))
}

fn client(host: &Host, authority: &Authority) -> Client {
    Client::new(host.addresses().0, authority)
}

#[tokio::test]
async fn names_are_registered_over_tls_with_both_versions_of_http() {
    let authority = Authority::new();
    let host = builder(&authority, "").demo().start();
    let client = client(&host, &authority);
    for (name, mut connection) in [
        ("one", client.http1().await.unwrap()),
        ("two", client.http2().await.unwrap()),
    ] {
        let said = connection.register("demo", name).await.unwrap();
        assert_eq!(said.status, 201, "{said:?}");
        let found = connection.get(&format!("/v1/demo/names/{name}")).await.unwrap();
        let found: Value = serde_json::from_str(&found.body).unwrap();
        assert_eq!(found["owner"], "ann");
        let said = connection.register("demo", name).await.unwrap();
        assert_eq!(said.status, 409, "{said:?}");
    }
}

#[tokio::test]
async fn many_requests_share_one_connection_and_run_beside_each_other() {
    let authority = Authority::new();
    let host = builder(&authority, LONG_LEASES)
        .demo()
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let connection = client(&host, &authority).http2().await.unwrap();
    let mut slow = connection.another();
    let slow = tokio::spawn(async move { slow.hold("sleep", "held").await });
    running(&host, 1).await;
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..50 {
        let mut connection = connection.another();
        answers.spawn(async move { connection.register("demo", &format!("room {number}")).await.unwrap() });
    }
    while let Some(said) = answers.join_next().await {
        assert_eq!(said.unwrap().status, 201);
    }
    assert!(!slow.is_finished());
    slow.abort();
}

// Shows P3: a stream that its client resets, and one whose connection is gone, gives its lease back.
#[tokio::test]
async fn a_request_that_is_given_up_releases_its_lease() {
    let authority = Authority::new();
    let host = builder(&authority, LONG_LEASES)
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let client = client(&host, &authority);
    for gone in ["its stream", "its connection"] {
        let connection = client.http2().await.unwrap();
        let mut holder = connection.another();
        let held = tokio::spawn(async move { holder.hold("sleep", "held").await });
        eventually("the lock is held", async || {
            host.admin("/locks").await.body.as_array().unwrap().len() == 1
        })
        .await;
        let mut connection = Some(connection);
        if gone == "its connection" {
            connection = None;
        }
        held.abort();
        eventually("the lock is free", async || {
            host.admin("/locks").await.body == json!([])
        })
        .await;
        running(&host, 0).await;
        drop(connection);
    }
    let codes = &host.admin("/tenants/sleep").await.body["calls"]["codes"];
    assert_eq!(*codes, json!({ "client_gone": 2 }));
}

#[tokio::test]
async fn a_host_that_stops_says_goodbye_and_answers_what_runs() {
    let authority = Authority::new();
    let mut host = builder(&authority, &format!("http.drain = '5m'\n{LONG_LEASES}"))
        .tenant("sleep", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    let mut connection = client(&host, &authority).http2().await.unwrap();
    let mut other = connection.another();
    let answer = tokio::spawn(async move { other.hold("sleep", "held").await });
    running(&host, 1).await;
    host.process.signal("INT");
    eventually("nobody can connect", async || {
        client(&host, &authority).http2().await.is_err()
    })
    .await;
    eventually("the connection takes no new request", async || {
        connection.get("/v1/sleep/names").await.is_err()
    })
    .await;
    assert!(!answer.is_finished());
    let id = host.admin("/locks").await.body[0]["id"].as_u64().unwrap();
    let path = format!("{}/locks/{id}", host.admin);
    assert_eq!(host.send(|client, _| client.delete(path)).await.status, 204);
    let said = answer.await.unwrap().unwrap();
    assert!(said.status == 503 && said.body.contains("lease_lost"), "{said:?}");
    let status = host.process.wait(DEADLINE).expect("the host did not stop");
    assert!(status.success());
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_to() {
    let authority = Authority::new();
    let host = builder(&authority, "").demo().start();
    let answer = rest(send(&host, "GET /v1/demo/names HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_refused_with_words_that_help() {
    let authority = Authority::new();
    let (one, other) = (authority.sign(&["127.0.0.1"]), authority.sign(&["127.0.0.1"]));
    let both = "http.tls_certificate = 'tls.crt'\nhttp.tls_key = 'tls.key'\n";
    let half = "http.tls_certificate = 'tls.crt'\n";
    let none = "admin.tls_client_roots = 'tls.crt'\n";
    let cases = [
        (both, &one.certificate, &other.key, "tls.key is not its key"),
        (both, &one.key, &one.key, "tls.crt has no certificate in PEM"),
        (
            both,
            &one.certificate,
            &one.certificate,
            "tls.key has no private key in PEM",
        ),
        (half, &one.certificate, &one.key, "give both"),
        (none, &one.certificate, &one.key, "give a certificate and a key too"),
    ];
    for (config, certificate, key, expect) in cases {
        let builder = Builder::new().config(config).demo();
        fs::write(builder.folder().join("tls.crt"), certificate).unwrap();
        fs::write(builder.folder().join("tls.key"), key).unwrap();
        let words = refusal(&builder, &[], 2);
        assert!(words.contains(expect) && words.contains(".tls_certificate"), "{words}");
        assert!(!words.contains("BEGIN PRIVATE") && !words.contains(key.lines().nth(1).unwrap()));
    }
    let words = refusal(&Builder::new().config(both).demo(), &[], 2);
    assert!(words.contains("cannot read tls.crt"), "{words}");
}

#[tokio::test]
async fn an_expired_certificate_is_served_and_warned_of() {
    let authority = Authority::new();
    let builder = builder(&authority, "");
    put(builder.folder(), &authority.sign_expired(&["127.0.0.1"]));
    let host = builder.demo().start();
    let expect = "the certificate ended at 2020-02-01T00:00:00Z, and clients refuse it; renew it";
    eventually("the log warns of it", async || host.log().contains(expect)).await;
    let refused = client(&host, &authority)
        .http1()
        .await
        .err()
        .expect("it has expired")
        .to_string();
    assert!(
        refused.contains("invalid peer certificate: certificate expired"),
        "{refused}"
    );

    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
        let checked = command
            .current_dir(host.folder())
            .args(["check-config", "namelock.toml"]);
        let output = checked.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "a host would start: {said}");
    assert!(
        said.ends_with(&format!("warning: http.tls_certificate: {expect}\n")),
        "{said}"
    );

    put(host.folder(), &authority.sign(&["127.0.0.1"]));
    eventually("the new one is served", async || {
        client(&host, &authority).http1().await.is_ok()
    })
    .await;
    assert_eq!(host.log().matches(expect).count(), 1, "it is not said again");
    let (code, said) = check();
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
}

#[tokio::test]
async fn a_peer_that_trusts_somebody_else_ends_the_handshake_and_nothing_else() {
    let authority = Authority::new();
    let host = builder(&authority, "").demo().start();
    let stranger = Client::new(host.addresses().0, &Authority::new());
    let error = stranger
        .http1()
        .await
        .err()
        .expect("it trusts somebody else")
        .to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let mut connection: Connection = client(&host, &authority).http1().await.unwrap();
    assert_eq!(connection.register("demo", "name").await.unwrap().status, 201);
}

/// A host whose admin listener has TLS, and lets operators in who show a certificate of this authority.
fn with_operators(authority: &Authority, operators: &Authority, config: &str) -> Builder {
    let tls =
        "admin.tls_certificate = 'tls.crt'\nadmin.tls_key = 'tls.key'\nadmin.tls_client_roots = 'operators.crt'\n";
    let builder = Builder::new().config(&format!("{tls}{config}"));
    put(builder.folder(), &authority.sign(&["127.0.0.1"]));
    fs::write(builder.folder().join("operators.crt"), operators.certificate()).unwrap();
    builder
}

// Shows P7: who has not the right is refused, also if he has a certificate.
#[tokio::test]
async fn a_certificate_gives_the_rights_that_the_configuration_says() {
    let (authority, operators) = (Authority::new(), Authority::new());
    let config = "admin.tls_client_rights = ['read']\n";
    let host = with_operators(&authority, &operators, config).demo().start();
    let watcher = operators.sign_for("watcher");
    let watcher = Client::certified(host.addresses().1, &authority, &watcher);
    let mut watcher = watcher.http2().await.unwrap();
    for (method, path, status) in [
        ("GET", "/tenants", 200),
        ("GET", "/locks", 200),
        ("GET", "/locks?names=true", 403),
        ("POST", "/tenants/demo/disable", 403),
        ("POST", "/drain", 403),
    ] {
        let said = watcher.send(method, path, Body::empty()).await.unwrap();
        assert_eq!(said.status, status, "{method} {path}: {said:?}");
        let names_what_to_mend = said
            .body
            .contains("admin.tls_client_rights gives certificates no right to");
        assert_eq!(names_what_to_mend, status == 403, "{said:?}");
    }
    for (rights, expect) in [
        ("[]", "write some of read, names and write"),
        ("['fly']", "`fly` is none; a right is"),
    ] {
        let config = format!("admin.tls_client_rights = {rights}\n");
        let words = refusal(&Builder::new().config(&config).demo(), &[], 2);
        assert!(
            words.contains("admin.tls_client_rights") && words.contains(expect),
            "{words}"
        );
    }
}

#[tokio::test]
async fn an_operator_shows_a_certificate_of_an_authority_that_the_host_knows() {
    let (authority, operators) = (Authority::new(), Authority::new());
    let host = with_operators(&authority, &operators, "").demo().start();
    let admin = host.addresses().1;
    let operator = operators.sign_for("ann");
    let mut known = Client::certified(admin, &authority, &operator).http2().await.unwrap();
    assert_eq!(known.get("/tenants").await.unwrap().status, 200);
    let said = known.send("POST", "/tenants/demo/enable", Body::empty()).await.unwrap();
    assert_eq!(said.status, 200);
    eventually("the log says who has done it", async || {
        host.log()
            .contains("a tenant was enabled by the operator operator=\"ann (certificate ")
    })
    .await;
    let mut balancer = Client::new(admin, &authority).http1().await.unwrap();
    assert_eq!(balancer.get("/readyz").await.unwrap().status, 200);
    assert_eq!(balancer.get("/tenants").await.unwrap().status, 401);
    let folder = host.folder();
    for (file, text) in [
        ("ca.crt", &authority.certificate()),
        ("operator.crt", &operator.certificate),
        ("operator.key", &operator.key),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
    let path = |file: &str| folder.join(file).display().to_string();
    let (ca, certificate, key) = (path("ca.crt"), path("operator.crt"), path("operator.key"));
    let command = |arguments: &[&str]| admin_of(&[&admin.to_string()], None, arguments);
    let trusting = ["--tls-roots", &ca];
    assert_eq!(
        command(&[&["ready"], &trusting[..]].concat()),
        (Some(0), "ready\n".to_owned())
    );
    let (code, said) = command(&[&["tenants"], &trusting[..]].concat());
    assert!(
        code == Some(1) && said.contains("asks for a client certificate"),
        "{said}"
    );
    let shown = ["--tls-certificate", &certificate, "--tls-key", &key];
    let (code, said) = command(&[&["tenants"], &trusting[..], &shown[..]].concat());
    assert!(code == Some(0) && said.contains("demo"), "{said}");
    let (code, said) = command(&["ready"]);
    assert!(code == Some(1) && said.contains("pass --tls-roots"), "{said}");
    let (code, said) = command(&["ready", "--tls-roots", &certificate]);
    assert!(code == Some(1) && said.contains("certificate"), "{said}");
    let stranger = Authority::new().sign(&["operator.test"]);
    let stranger = Client::certified(admin, &authority, &stranger).http1().await;
    // The server checks after the client has begun to speak (TLS 1.3), so the first request may be what fails.
    let refused = match stranger {
        Err(_) => true,
        Ok(mut connection) => connection.get("/tenants").await.is_err(),
    };
    assert!(refused);
    eventually("he is counted", async || {
        let metrics = known.get("/metrics").await.unwrap().body;
        metrics.contains("namelock_admin_not_let_in_total{reason=\"unknown_certificate\"} 1\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_no_follower_that_does_not_read_its_stream() {
    let authority = Authority::new();
    let config = "http.drain = '10m'\nlimits.log_bytes = '16MiB'\nlimits.log_rate = '1GiB'\nlimits.cpu_time = '30s'\n";
    let mut host = builder(&authority, config).tenant("t", guests::LOG_FLOOD, "").start();
    let client = client(&host, &authority);
    let (sender, connection) = client.frames().await.unwrap();
    tokio::spawn(connection);
    let follow = client::request("GET", "/v1/t/log", ()).unwrap();
    let (answer, _) = sender.ready().await.unwrap().send_request(follow, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    // More than the stream's window, and nobody makes room in it.
    let said = client.http1().await.unwrap().register("t", "a").await.unwrap();
    assert_eq!(said.status, 422, "{said:?}");
    assert_eq!(tokio::task::block_in_place(|| host.stop()), Some(0));
    let log = host.log();
    assert!(!log.contains("cut off"), "{log}");
    drop(answer);
}
