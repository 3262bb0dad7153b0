use std::time::Duration;

use namelock_test_servers::{Authority, Memcached, Protection};

use super::*;
use crate::memcached::codec::{Command, Reply};
use crate::tls_files::TlsFiles;

/// What memcached reads at once.
const BUFFER_BYTES: usize = 16 * 1024;

async fn dial(server: &Memcached, authority: &Authority) -> Wire {
    let config = LockConfig {
        tls: TlsFiles {
            ca: Some(authority.file()),
            ..TlsFiles::default()
        },
        ..LockConfig::default()
    };
    let LockUrl::Memcached(url) = server.url().parse().unwrap() else {
        panic!("it is a memcached");
    };
    let dialer = Dialer::open(&url, &config).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    dialer.dial(&url.servers[0], deadline).await.unwrap()
}

/// The keys of a batch of looks that has this many bytes.
fn keys_of(bytes: usize) -> Vec<String> {
    let length = |opaque: usize, key: &str| {
        let mut payload = Vec::new();
        Command::Look.encode(key, opaque, &mut payload).unwrap();
        payload.len()
    };
    let (mut keys, mut left) = (Vec::new(), bytes);
    while left > 0 {
        let around = length(keys.len(), "k") - 1;
        // A key has at most 250 bytes, and each leaves room for another one.
        let key = if left > around + 250 { 100 } else { left - around };
        keys.push("k".repeat(key));
        left -= around + key;
    }
    keys
}

#[tokio::test]
async fn a_batch_over_tls_is_answered_to_its_end_however_it_fits_the_buffer_of_memcached() {
    let authority = Authority::new();
    let identity = authority.sign(&["127.0.0.1"]);
    let server = Memcached::protected(&Protection {
        tls: Some(&identity),
        ..Protection::default()
    });
    let mut wire = dial(&server, &authority).await;
    for bytes in [BUFFER_BYTES, 2 * BUFFER_BYTES, 5 * BUFFER_BYTES] {
        let keys = keys_of(bytes);
        let batch: Vec<_> = keys.iter().map(|key| (key.as_str(), Command::Look)).collect();
        let mut outcomes = Vec::new();
        let exchanged = tokio::time::timeout(Duration::from_secs(60), wire.exchange(&batch, &mut outcomes)).await;
        assert!(exchanged.is_ok(), "{} of {} were answered", outcomes.len(), batch.len());
        exchanged.unwrap().unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(Reply::Missing)));
        assert!(!wire.is_broken(), "nobody has said anything that was not asked for");
    }
}

#[tokio::test]
async fn an_idle_connection_is_broken_when_the_server_goes_and_not_before() {
    for is_tls in [false, true] {
        let authority = Authority::new();
        let identity = authority.sign(&["127.0.0.1"]);
        let mut server = Memcached::protected(&Protection {
            tls: is_tls.then_some(&identity),
            login: Some(("ann", "s3cret")),
            ..Protection::default()
        });
        let mut wire = dial(&server, &authority).await;
        assert_eq!(wire.is_tls(), is_tls);
        // What TLS says by itself after the handshake has arrived by then.
        wire.send("version\r\n").await.unwrap();
        assert!(wire.line().await.unwrap().starts_with("VERSION"));
        assert!(!wire.is_broken());
        let quiet = tokio::time::timeout(Duration::from_millis(50), wire.broken()).await;
        assert!(quiet.is_err(), "nothing has happened");
        server.kill();
        tokio::time::timeout(Duration::from_secs(60), wire.broken())
            .await
            .unwrap();
        assert!(wire.is_broken());
    }
}
