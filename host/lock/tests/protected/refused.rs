//! Servers that are not what they should be, or do not know this host.

use std::fs;
use std::path::PathBuf;

use namelock_lock::LockUrl;
use tracing::Level;

use super::*;
use crate::log::Log;

fn with_password() -> Memcached {
    Memcached::protected(&Protection {
        login: Some((USER, PASSWORD)),
        ..Protection::default()
    })
}

/// Checks that nothing is granted over `url`, and that the log says once which server that is, and in these words why, however
/// often it is tried.
async fn is_refused(url: &str, tls: TlsFiles, words: &[&str]) {
    let (log, _guard) = Log::begin();
    let locks = open(url, tls);
    let try_often = async {
        let mut refused = String::new();
        while log.complaints(Level::DEBUG).len() < 4 {
            match locks.acquire("t", "a", NO_WAIT).await {
                Err(AcquireError::Unavailable { reason, .. }) => refused = reason,
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        refused
    };
    let refused = tokio::time::timeout(DEADLINE, try_often).await;
    let refused = refused.unwrap_or_else(|_| panic!("it was not tried: {}", log.text()));
    let complaints = log.complaints(Level::WARN);
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    let server = url.rsplit(['@', '/']).next().unwrap();
    for text in [&complaints[0], &refused] {
        for word in [&[server], words].concat() {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
    let everything = format!("{refused}{}{locks:?}", log.text());
    assert!(!everything.contains(PASSWORD), "{everything}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = over_tls(&authority.sign(&[HOST]));
    is_refused(&server.url(), trusts(&other), &["signed by none", "lock.ca"]).await;
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_this_machine_does_not_know_is_refused() {
    let server = over_tls(&Authority::new().sign(&[HOST]));
    is_refused(&server.url(), TlsFiles::default(), &["signed by none", "lock.ca"]).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let server = over_tls(&authority.sign(&["cache.example.org", "127.0.0.2"]));
    is_refused(&server.url(), trusts(&authority), &["another name", "lock.url"]).await;
}

// Shows P7: a server that is not what it should be grants nothing.
#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let authority = Authority::new();
    let server = over_tls(&authority.sign_expired(&[HOST]));
    is_refused(&server.url(), trusts(&authority), &["has expired", "refresh_certs"]).await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let (server, authority) = (Memcached::as_recommended(), Authority::new());
    let url = server.url().replace("memcached:", "memcacheds:");
    is_refused(&url, trusts(&authority), &["-Z", "stands still"]).await;
}

#[tokio::test]
async fn a_server_with_tls_is_refused_where_none_is_wanted() {
    let server = over_tls(&Authority::new().sign(&[HOST]));
    let url = server.url().replace("memcacheds:", "memcached:");
    is_refused(&url, TlsFiles::default(), &["-Z", "memcacheds://"]).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_not_used_without_one() {
    let authority = Authority::new();
    let server = with_everything(&authority);
    is_refused(&server.url(), trusts(&authority), &["lock.certificate", "ssl_ca_cert"]).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_not_used_with_one_that_it_does_not_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = with_everything(&authority);
    let files = Files::new();
    let tls = files.write(&authority, &other);
    is_refused(&server.url(), tls, &["lock.certificate", "ssl_ca_cert"]).await;
}

// Shows P7: a server that does not know this host grants nothing.
#[tokio::test]
async fn a_wrong_password_is_refused() {
    let server = with_password();
    let url = server.url().replace(PASSWORD, &format!("{PASSWORD}-of-before"));
    is_refused(&url, TlsFiles::default(), &["password of the user", USER, "-Y"]).await;
}

#[tokio::test]
async fn a_user_that_the_server_does_not_know_is_refused() {
    let server = with_password();
    let url = server.url().replace("ann:", "bob:");
    is_refused(&url, TlsFiles::default(), &["password of the user", "bob", "-Y"]).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_is_refused_where_none_is_given() {
    let server = with_password();
    let url = format!("memcached://{}", server.address());
    is_refused(
        &url,
        TlsFiles::default(),
        &["asks for a user and a password", "lock.url"],
    )
    .await;
}

#[tokio::test]
async fn a_server_that_asks_for_no_password_is_refused_and_is_not_sent_it() {
    let files = Files::new();
    let received = files.path().join("received");
    let server = Memcached::with_log(&received);
    let url = format!("memcached://{USER}:{PASSWORD}@{}", server.address());
    is_refused(&url, TlsFiles::default(), &["start it with -Y", "was not sent"]).await;
    let received = fs::read_to_string(received).unwrap();
    assert!(
        received.contains("version") && !received.contains(" set "),
        "{received}"
    );
}

#[tokio::test]
async fn files_of_tls_that_cannot_be_used_are_found_at_the_start() {
    let authority = Authority::new();
    let files = Files::new();
    let good = files.write(&authority, &authority);
    let url: LockUrl = "memcacheds://127.0.0.1:1".parse().unwrap();
    let is_refused = |tls: TlsFiles, expected: &str| {
        let config = LockConfig {
            tls,
            ..LockConfig::default()
        };
        let error = Locks::open(&url, config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let with_ca = |path: PathBuf| TlsFiles {
        ca: Some(path),
        ..good.clone()
    };
    is_refused(with_ca("/nowhere/ca.pem".into()), "lock.ca /nowhere/ca.pem");
    is_refused(with_ca(files.file("text", "no certificate")), "no certificate in PEM");
    is_refused(with_ca(files.file("long", &"x".repeat(1 << 21))), "more than 1 MiB");
    let no_key = TlsFiles {
        key: good.certificate.clone(),
        ..good.clone()
    };
    is_refused(no_key, "no key in PEM");
    let key_of_another = TlsFiles {
        key: Some(files.file("other.key", &authority.sign(&[HOST]).key)),
        ..good.clone()
    };
    is_refused(key_of_another, "both of one pair");
}
