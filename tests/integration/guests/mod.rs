//! However a handler behaves, its call ends with the code that is stated here, and its locks are released.
//!
//! Each module is named as the guest that it runs; a guest without one does not compile.

mod abi;
mod leases;
mod limits;
mod world;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use namelock_test_artifacts::guests as components;
use namelock_test_servers::Memcached;

use self::{abi::*, leases::*, limits::*, world::*};
use crate::fixture::{Answer, Builder, Host, wait_for};

/// How a call ends: its status and its code; of a success the code is the status.
pub(crate) type Ends = (u16, &'static str);

/// How soon after the end of a call its locks are gone.
const SOON: Duration = Duration::from_millis(100);

const SHORT: &str = "[limits]\nmemory = \"16MiB\"\ncpu_time = \"100ms\"\nwall_time = \"500ms\"\n";

/// How a call of each guest ends, by the guest's name.
pub(crate) fn ends() -> Vec<(&'static str, Ends)> {
    let mut all = Vec::new();
    macro_rules! push {
        ($guest:ident) => {
            all.push((stringify!($guest), $guest::ENDS));
        };
    }
    namelock_test_artifacts::foreach_guest!(push);
    all
}

/// A host with one tenant `t`, who runs this guest within short limits, a tenant `good` whose handler is as it should be, and the
/// memcached behind them.
struct Bench {
    host: Host,
    memcached: Memcached,
}

impl Bench {
    fn new(guest: &str) -> Self {
        Self::with(guest, "", SHORT)
    }

    fn with(guest: &str, config: &str, tenant: &str) -> Self {
        let memcached = Memcached::start();
        let host = Builder::new()
            .config(config)
            .lock(&memcached)
            .tenant("t", guest, tenant)
            .tenant("good", components::PLAIN, "")
            .start();
        host.wait_until_ready();
        Self { host, memcached }
    }

    async fn post(&self, name: &str) -> Answer {
        self.host.post("t", name, "ann").await
    }

    /// Checks how a call for `room` ends, that its locks are gone soon after, that the next one ends in the same way, and that
    /// another tenant is served.
    async fn ends(&self, ends: Ends) -> Answer {
        let answer = self.post("room").await;
        check(&answer, ends);
        self.has_no_lock_soon().await;
        check(&self.post("next").await, ends);
        assert_eq!(self.host.post("good", "room", "ann").await.status, 201);
        self.has_no_lock_soon().await;
        answer
    }

    async fn has_no_lock_soon(&self) {
        let gone = wait_for(SOON, || self.memcached.raw().lock_keys().is_empty()).await;
        let keys = self.memcached.raw().lock_keys();
        assert!(gone.is_some(), "{keys:?} after {} ms", SOON.as_millis());
    }

    /// Starts a request that holds the lock for `hold_ms`, and waits until it does.
    async fn hold(&self, hold_ms: u32) -> TcpStream {
        let body = format!(r#"{{"name":"room","owner":"ann","attributes":{{"hold_ms":"{hold_ms}"}}}}"#);
        let mut stream = TcpStream::connect(self.host.url.strip_prefix("http://").unwrap()).unwrap();
        let head = format!(
            "POST /v1/t/names HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let held = wait_for(Duration::from_secs(10), || !self.memcached.raw().lock_keys().is_empty()).await;
        assert!(held.is_some(), "the lock was never taken");
        stream
    }
}

#[track_caller]
fn check(answer: &Answer, (status, code): Ends) {
    if status == 201 {
        assert_eq!(answer.code(), code, "{:?}", answer.body);
    } else {
        answer.is_problem(status, code);
    }
}
