//! However a handler behaves, its call ends with the code that [`crate::ends`] states, and its locks are released.
//!
//! Each module is named as the guest that it runs; a guest without one does not compile.

mod abi;
mod costs;
mod leases;
mod limits;
mod several;
mod world;

use std::io::Write;
use std::net::TcpStream;

use namelock_test_artifacts::guests as components;
use namelock_test_servers::Memcached;

use self::{abi::*, costs::*, leases::*, limits::*, several::*, world::*};
use crate::ends::{DEADLINE, Ends};
use crate::fixture::{Answer, Builder, Host, LONG_LEASES, lock_is_taken, no_lock_is_left};

/// For guests that end when their time is over.
const SHORT_CALLS: &str = r#"
    [limits]
    memory = "16MiB"
    cpu_time = "100ms"
    wall_time = "500ms"
"#;

/// For the others: all the time that a machine may need which is slow and busy.
const PATIENT_CALLS: &str = r#"
    [limits]
    memory = "16MiB"
    cpu_time = "30s"
    wall_time = "5m"
"#;

macro_rules! has_a_test {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "it only has to be there")]
        use self::$guest as _;
    };
}
namelock_test_artifacts::foreach_guest!(has_a_test);

/// A host with a tenant `t` that runs one guest, and a tenant `good` whose handler does as it should, and the memcached
/// behind them.
///
/// Leases last longer than a test waits, unless the configuration says otherwise.
struct Bench {
    host: Host,
    memcached: Memcached,
}

impl Bench {
    /// A guest that ends like this: soon where its time is to run out, and with all the time that a busy machine may
    /// need otherwise.
    fn new(guest: &str, (_, code): Ends) -> Self {
        let limits = if code == DEADLINE { SHORT_CALLS } else { PATIENT_CALLS };
        Self::with(guest, LONG_LEASES, limits)
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

    /// Checks how a call for `room` ends, that its locks are released, that the next call ends in the same way, and
    /// that another tenant is served.
    async fn ends(&self, ends: Ends) -> Answer {
        let answer = self.post("room").await;
        check(&answer, ends);
        self.has_no_lock().await;
        check(&self.post("next").await, ends);
        assert_eq!(self.host.post("good", "room", "ann").await.status, 201);
        self.has_no_lock().await;
        answer
    }

    async fn has_no_lock(&self) {
        no_lock_is_left(&self.memcached).await;
    }

    /// Starts a request that holds the lock for `hold_ms`, and waits until it does.
    async fn hold(&self, hold_ms: u32) -> TcpStream {
        let body = format!(r#"{{"name":"room","owner":"ann","attributes":{{"hold_ms":"{hold_ms}"}}}}"#);
        let mut stream = self.host.connect();
        let head = format!(
            "POST /v1/t/names HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        lock_is_taken(&self.memcached).await;
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
