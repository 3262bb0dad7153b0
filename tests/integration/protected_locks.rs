//! A host whose memcached is spoken to over TLS and asks for a password.

use namelock_test_servers::{Authority, Memcached, Protection};

use crate::fixture::{Builder, eventually};

const PASSWORD: &str = "s3cret-of-ann";

fn protected(authority: &Authority) -> Memcached {
    Memcached::protected(&Protection {
        tls: Some(&authority.sign(&["127.0.0.1"])),
        clients: None,
        login: Some(("ann", PASSWORD)),
    })
}

fn trusts(authority: &Authority) -> String {
    format!("[lock]\nca = '{}'\n", authority.file().display())
}

#[tokio::test]
async fn a_name_is_registered_with_a_lock_over_tls() {
    let authority = Authority::new();
    let server = protected(&authority);
    let host = Builder::new().lock(&server).config(&trusts(&authority)).demo().start();
    host.wait_until_ready();
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    host.post("demo", "a", "bob").await.is_problem(409, "name_taken");
    let metrics = host.admin("/metrics").await.body.to_string();
    assert!(metrics.contains(&server.address().to_string()), "{metrics}");
    for text in [metrics, host.log()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

// Shows P7: a host that memcached does not know refuses at once.
#[tokio::test]
async fn a_wrong_password_of_memcached_is_told_to_the_operator_alone() {
    let authority = Authority::new();
    let server = protected(&authority);
    let url = server.url().replace(PASSWORD, &format!("{PASSWORD}-of-before"));
    let host = Builder::new().lock_url(&url).config(&trusts(&authority)).demo().start();
    let refused = host.post("demo", "a", "ann").await;
    refused.is_problem(503, "lock_unavailable");

    let complaints = || {
        let log = host.log();
        let lines = log.lines().filter(|line| line.contains("does not accept the password"));
        lines
            .filter(|line| line.contains("its locks are refused"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    eventually("the operator is told", async || !complaints().is_empty()).await;
    assert!(
        complaints()[0].contains(&server.address().to_string()),
        "{complaints:?}",
        complaints = complaints()
    );
    host.post("demo", "b", "ann").await.is_problem(503, "lock_unavailable");
    assert_eq!(complaints().len(), 1);
    let ready = host.admin("/readyz").await;
    for text in [host.log(), ready.body.to_string(), refused.body.to_string()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}
