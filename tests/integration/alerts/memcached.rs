//! Faults of memcached and of the way to it.

use namelock_chaos::proxy::{Mode, Proxy, end};
use namelock_test_servers::{Memcached, Protection};

use super::faults::Fault;
use super::{Watch, instance};
use crate::fixture::{Builder, Host, eventually};

/// Leases, and so grace periods, that a test can wait for; and evictions are seen soon.
const CONFIG: &str = r#"
    [lock]
    lease = "3s"
    watch_every = "100ms"
"#;

/// A host whose names are on these servers.
fn host(servers: &[String]) -> Host {
    let url = format!("memcached://{}", servers.join(","));
    let host = Builder::new().config(CONFIG).lock_url(&url).demo().start();
    host.wait_until_ready();
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_memcached_and_of_the_way_to_it_raise_alerts() {
    let watch = Watch::start();
    tokio::join!(
        a_memcached_dies_is_restarted_flushed_and_stopped(&watch),
        the_network_breaks_and_a_clock_stands_still(&watch),
        a_memcached_is_full(&watch),
        a_host_has_the_wrong_password(&watch)
    );
}

async fn a_host_has_the_wrong_password(watch: &Watch) {
    let memcached = Memcached::protected(&Protection {
        login: Some(("ann", "right")),
        ..Protection::default()
    });
    let server = memcached.address().to_string();
    let start = |url: &str| Builder::new().config(CONFIG).lock_url(url).demo().start();
    let right = start(&format!("memcached://ann:right@{server}"));
    right.wait_until_ready();
    watch.begin(&[&right]).await;
    let wrong = start(&format!("memcached://ann:wrong@{server}"));
    let instance = instance(&wrong);
    let down = [("server", &*server), ("instance", &*instance)];
    watch.raises(Fault::PasswordIsWrong, &down, || watch.add(&wrong)).await;
    let down = [("backend", "lock"), ("instance", &*instance)];
    watch
        .raises_while(Fault::PasswordOfTheOnlyOneIsWrong, &down, async || {})
        .await;
}

/// Whether a host can use one memcached.
async fn is_up(host: &Host, server: &str) -> bool {
    let metrics = host.admin("/metrics").await.body;
    let up = format!("namelock_memcached_up{{server=\"{server}\"}} 1");
    metrics.as_str().unwrap().lines().any(|line| line == up)
}

async fn a_memcached_dies_is_restarted_flushed_and_stopped(watch: &Watch) {
    let mut memcached = Memcached::start();
    let other = Memcached::start();
    let server = memcached.address().to_string();
    let host = host(&[server.clone(), other.address().to_string()]);
    watch.begin(&[&host]).await;
    let instance = instance(&host);
    let down = [("server", &*server), ("instance", &*instance)];
    let lost = |reason| [("server", &*server), ("reason", reason), ("instance", &*instance)];

    watch.raises(Fault::MemcachedDies, &down, || memcached.kill()).await;
    watch
        .raises(Fault::MemcachedIsRestarted, &lost("restarted"), || memcached.restart())
        .await;
    watch.is_quiet(Fault::MemcachedDies, &down).await;

    watch
        .raises(Fault::MemcachedIsFlushed, &lost("flushed"), || {
            assert_eq!(memcached.raw().command("flush_all"), "OK");
        })
        .await;

    watch
        .raises(Fault::MemcachedStandsStill, &down, || memcached.signal("STOP"))
        .await;
    memcached.signal("CONT");
    watch.is_quiet(Fault::MemcachedStandsStill, &down).await;
    // What was long ago is no reason to wake anybody.
    watch.is_quiet(Fault::MemcachedIsFlushed, &lost("flushed")).await;
}

async fn the_network_breaks_and_a_clock_stands_still(watch: &Watch) {
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let (clock, behind) = (Memcached::with_clock(&offset), Memcached::start());
    let proxy = Proxy::start(behind.address(), 1).await.unwrap();
    let (clock_server, server) = (clock.address().to_string(), format!("{}:{}", end(0), proxy.port()));
    let host = host(&[clock_server.clone(), server.clone()]);
    watch.begin(&[&host]).await;
    let down = [("server", &*server)];

    watch
        .raises(Fault::NetworkBreaks, &down, || proxy.set(0, Mode::Silent))
        .await;
    proxy.set(0, Mode::Pass);
    watch.is_quiet(Fault::NetworkBreaks, &down).await;

    watch.is_quiet(Fault::ConnectionsBreak, &down).await;
    watch
        .raises_while(Fault::ConnectionsBreak, &down, async || {
            proxy.set(0, Mode::Reset);
            eventually("the connection is broken", async || !is_up(&host, &server).await).await;
            proxy.set(0, Mode::Pass);
            eventually("there is another one", async || is_up(&host, &server).await).await;
        })
        .await;

    watch
        .raises(
            Fault::ClockOfMemcachedStandsStill,
            &[("server", &*clock_server)],
            || {
                // Until it has come to where it was, it is not set.
                std::fs::write(&offset, "-8").unwrap();
            },
        )
        .await;
}

/// Writes a thousand items of the size of locks of the tenant `demo`.
fn fill(memcached: &Memcached, round: &mut u32) {
    let numbers = *round * 1000..(*round + 1) * 1000;
    *round += 1;
    let sets = numbers.map(|number| format!("set namelock:demo:{number:032} 0 0 20 noreply\r\n{number:020}\r\n"));
    let answer = memcached.raw().command(&(sets.collect::<String>() + "version"));
    assert!(!answer.is_empty(), "memcached has ended");
}

async fn a_memcached_is_full(watch: &Watch) {
    let (full, evicting) = (
        Memcached::with_flags(&["-M", "-m", "2"]),
        Memcached::with_flags(&["-m", "2"]),
    );
    let (full_server, evicting_server) = (full.address().to_string(), evicting.address().to_string());
    let host = host(&[full_server.clone(), evicting_server.clone()]);
    watch.begin(&[&host]).await;
    let mut round = 0;

    let of_full = [("server", &*full_server)];
    watch.is_quiet(Fault::MemcachedIsFull, &of_full).await;
    watch
        .raises_while(Fault::MemcachedIsFull, &of_full, async || {
            fill(&full, &mut round);
            // Some of the names are on this server.
            for name in ["a", "b", "c", "d"] {
                host.post("demo", name, "ann").await;
            }
        })
        .await;

    let of_evicting = [("server", &*evicting_server)];
    let lost = [("server", &*evicting_server), ("reason", "evicted")];
    watch.is_quiet(Fault::MemcachedEvicts, &of_evicting).await;
    watch.is_quiet(Fault::MemcachedEvictsLocks, &lost).await;
    watch
        .raises_while(Fault::MemcachedEvicts, &of_evicting, async || {
            fill(&evicting, &mut round)
        })
        .await;
    watch
        .raises_while(Fault::MemcachedEvictsLocks, &lost, async || fill(&evicting, &mut round))
        .await;
}
