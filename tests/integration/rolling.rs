//! A fleet behind a balancer is restarted host by host, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use namelock_test_servers::{Haproxy, Memcached, Postgres};
use reqwest::Client;
use serde_json::json;

use crate::fixture::{Builder, DEADLINE, Host, eventually};

const CLIENTS: usize = 16;

/// How many registrations have to succeed between any two steps, so that there is load in all of them.
const BETWEEN: usize = 200;

/// What the clients do until they are told to stop.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    registered: AtomicUsize,
}

impl Load {
    /// Registers one name after the other, over connections that are kept; the first failure ends it.
    async fn register(&self, client: &Client, url: &str, caller: usize) -> Result<(), String> {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let body = json!({ "name": format!("room {caller} {number}"), "owner": "ann" }).to_string();
            let answer = client.post(url).body(body).send().await;
            let answer = answer.map_err(|error| format!("{error:?}"))?;
            let status = answer.status();
            let said = answer.text().await.map_err(|error| format!("{error:?}"))?;
            if status != 201 {
                return Err(format!("{status}: {said}"));
            }
            self.registered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until the load has gone on for a while.
    async fn goes_on(&self) {
        let until = self.registered.load(Ordering::Relaxed) + BETWEEN;
        eventually("the load goes on", async || {
            self.registered.load(Ordering::Relaxed) >= until
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hosts_behind_a_balancer_are_restarted_and_no_request_fails() {
    let (memcached, postgres) = (Memcached::start(), Postgres::start());
    let start = || {
        let builder = Builder::new().lock(&memcached).names_url(&postgres.url());
        let host = builder.config("http.lame_duck = '10m'").demo().start();
        host.wait_until_ready();
        host
    };
    let mut hosts: Vec<Host> = (0..3).map(|_| start()).collect();
    let addresses: Vec<_> = hosts.iter().map(Host::addresses).collect();
    let balancer = Haproxy::start(&addresses);
    let url = format!("http://{}/v1/demo/names", balancer.address());

    let load = Arc::new(Load::default());
    let client = Client::builder().timeout(DEADLINE).build().unwrap();
    for number in 0..hosts.len() {
        eventually("a host is used", async || balancer.is_up(number) == Some(true)).await;
    }
    let clients: Vec<_> = (0..CLIENTS)
        .map(|caller| {
            let (load, client, url) = (Arc::clone(&load), client.clone(), url.clone());
            tokio::spawn(async move { load.register(&client, &url, caller).await })
        })
        .collect();
    for (number, host) in hosts.iter_mut().enumerate() {
        load.goes_on().await;
        let restarted = host.restart(async || balancer.is_up(number) == Some(false)).await;
        assert_eq!(restarted, Some(0), "{}", host.log());
        assert_eq!(host.addresses(), addresses[number]);
        eventually("the host is used again", async || balancer.is_up(number) == Some(true)).await;
    }
    load.goes_on().await;
    load.stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await.unwrap(), Ok(()));
    }
}
