//! Certificates that are replaced while a host serves.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use namelock_test_servers::Authority;
use tokio_rustls::client::TlsStream;

use super::client::{Client, Failure};
use super::{builder, client, put};
use crate::fixture::eventually;

/// The certificate that whoever connects now is shown.
async fn shown(client: &Client) -> Vec<u8> {
    let stream: TlsStream<_> = client.stream("http/1.1").await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Registers over a new connection each time, with HTTP/1.1 and HTTP/2 in turn, until it is told to stop.
async fn load(client: Client, caller: usize, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> Result<(), Failure> {
    let mut kept = client.http2().await?;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut new = match number % 2 {
            0 => client.http1().await?,
            _ => client.http2().await?,
        };
        for (connection, kind) in [(&mut new, "new"), (&mut kept, "kept")] {
            let said = connection
                .register("demo", &format!("room {caller} {number} {kind}"))
                .await?;
            if said.status != 201 {
                return Err(format!("{said:?}").into());
            }
        }
        done.fetch_add(2, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_load_and_no_request_fails() {
    let authority = Authority::new();
    let host = builder(&authority, "limits.rate = 100000\nlimits.burst = 100000\n")
        .demo()
        .start();
    let client = client(&host, &authority);
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let callers: Vec<_> = (0..4)
        .map(|caller| tokio::spawn(load(client.clone(), caller, Arc::clone(&stop), Arc::clone(&done))))
        .collect();
    let goes_on = async || {
        let until = done.load(Ordering::Relaxed) + 20;
        eventually("the load goes on", async || done.load(Ordering::Relaxed) >= until).await;
    };
    for _ in 0..3 {
        goes_on().await;
        let before = shown(&client).await;
        put(host.folder(), &authority.sign(&["127.0.0.1"]));
        eventually("the new certificate is shown", async || shown(&client).await != before).await;
    }
    goes_on().await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap().expect("no request fails");
    }
}

#[tokio::test]
async fn a_new_certificate_that_cannot_be_used_replaces_nothing_until_it_can() {
    let authority = Authority::new();
    let host = builder(&authority, "").demo().start();
    let client = client(&host, &authority);
    let before = shown(&client).await;
    let next = authority.sign(&["127.0.0.1"]);
    fs::write(host.folder().join("tls.crt"), &next.certificate).unwrap();
    eventually("the log says why", async || {
        host.log().contains("tls.key is not its key")
    })
    .await;
    assert_eq!(shown(&client).await, before);
    fs::write(host.folder().join("tls.key"), &next.key).unwrap();
    eventually("the new certificate is shown", async || shown(&client).await != before).await;
    let log = host.log();
    assert_eq!(log.matches("cannot take up the new certificate").count(), 1, "{log}");
}
