//! However a handler behaves, its call ends with the code that is stated here, and its locks are released.
//!
//! Each module is named as the guest that it runs; a guest without one does not compile.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;

use crate::fixture::{Answer, Builder, Host, wait_for};

/// How soon after the end of a call its locks are gone.
const SOON: Duration = Duration::from_millis(100);

const SHORT: &str = "[limits]\ncpu_time = \"100ms\"\nwall_time = \"500ms\"\n";

macro_rules! has_a_test {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "it only has to be there")]
        use self::$guest as _;
    };
}
namelock_test_artifacts::foreach_guest!(has_a_test);

/// A host with one tenant `t`, who runs this guest within short limits, and the memcached behind it.
struct Bench {
    host: Host,
    memcached: Memcached,
}

impl Bench {
    fn new(guest: &str) -> Self {
        Self::with(guest, SHORT)
    }

    fn with(guest: &str, toml: &str) -> Self {
        let memcached = Memcached::start();
        let host = Builder::new().lock(&memcached).tenant("t", guest, toml).start();
        Self { host, memcached }
    }

    async fn post(&self) -> Answer {
        self.host.post("t", "room", "ann").await
    }

    /// Checks how a call ends, that its locks are gone soon after, and that the next one ends in the same way.
    async fn ends(&self, status: u16, code: &str) -> Answer {
        let answer = self.post().await;
        answer.is_problem(status, code);
        self.has_no_lock_soon().await;
        self.post().await.is_problem(status, code);
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

mod plain {
    use super::*;

    #[tokio::test]
    async fn saves_any_name_as_it_is() {
        let bench = Bench::new(guests::PLAIN);
        for name in [
            "room",
            "ROOM",
            " room ",
            "a\0b",
            "line\nbreak",
            "\u{202e}evil",
            &"\u{1d11e}".repeat(63),
        ] {
            let answer = bench.host.post("t", name, "ann").await;
            assert_eq!((answer.status.as_u16(), &answer.body["name"]), (201, &name.into()));
        }
        bench.has_no_lock_soon().await;
    }
}

mod trap_holding_lease {
    use super::*;

    #[tokio::test]
    async fn is_released_and_the_log_says_where() {
        let bench = Bench::new(guests::TRAP_HOLDING_LEASE);
        bench.ends(500, "handler_trapped").await;
        let log = bench.host.log();
        assert!(
            log.contains("unreachable") && log.contains("trap_holding_lease"),
            "{log}"
        );
    }
}

mod panic_holding_lease {
    use super::*;

    #[tokio::test]
    async fn is_released_and_the_log_has_its_words() {
        let bench = Bench::new(guests::PANIC_HOLDING_LEASE);
        bench.ends(500, "handler_trapped").await;
        assert!(bench.host.log().contains("panicked at"), "{}", bench.host.log());
    }
}

mod spin_holding_lease {
    use super::*;

    #[tokio::test]
    async fn ends_at_the_cpu_time_and_is_released() {
        Bench::new(guests::SPIN_HOLDING_LEASE)
            .ends(504, "handler_deadline")
            .await;
    }
}

mod spin_in_start {
    use super::*;

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::SPIN_IN_START).ends(504, "handler_deadline").await;
    }
}

mod keep_lease {
    use super::*;

    #[tokio::test]
    async fn is_released_by_the_host() {
        Bench::new(guests::KEEP_LEASE).ends(423, "name_busy").await;
    }
}

mod hoard_leases {
    use super::*;

    #[tokio::test]
    async fn gets_no_more_than_its_limit() {
        let answer = Bench::new(guests::HOARD_LEASES).ends(422, "name_invalid").await;
        assert_eq!(answer.body["detail"], "got 8");
    }
}

mod grow_memory {
    use super::*;

    #[tokio::test]
    async fn ends_with_a_code_of_its_own() {
        Bench::new(guests::GROW_MEMORY).ends(500, "handler_out_of_memory").await;
    }
}

mod recurse {
    use super::*;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RECURSE).ends(500, "handler_trapped").await;
    }
}

mod log_flood {
    use super::*;

    #[tokio::test]
    async fn is_logged_up_to_its_limit() {
        // It is the flood that is limited here, not the number of its calls.
        let bench = Bench::with(guests::LOG_FLOOD, &format!("{SHORT}host_calls = 1000000\n"));
        bench.ends(422, "name_invalid").await;
        let log = bench.host.log();
        assert!(log.contains("more output is dropped"), "{log}");
        assert!(log.len() < 200_000, "{} bytes were logged", log.len());
    }
}

mod no_export {
    use super::*;

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::NO_EXPORT).ends(503, "tenant_unavailable").await;
    }
}

mod wants_sockets {
    use super::*;

    #[tokio::test]
    async fn is_not_loaded_and_the_log_names_what_it_wants() {
        let bench = Bench::new(guests::WANTS_SOCKETS);
        bench.ends(503, "tenant_unavailable").await;
        assert!(
            bench.host.log().contains("wasi:sockets/tcp@0.2"),
            "{}",
            bench.host.log()
        );
    }
}

mod steal {
    use super::*;

    #[tokio::test]
    async fn does_not_see_another_tenants_names() {
        let host = Builder::new()
            .tenant("a", guests::PLAIN, "")
            .tenant("t", guests::STEAL, "")
            .start();
        assert_eq!(host.post("a", "room", "ann").await.status, 201);
        let answer = host.post("t", "room", "eve").await;
        answer.is_problem(422, "name_invalid");
        assert_eq!(answer.body["detail"], "nobody");
    }
}

mod use_after_release {
    use super::*;

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::new(guests::USE_AFTER_RELEASE);
        bench.ends(500, "handler_trapped").await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

mod forge_lease {
    use super::*;

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::new(guests::FORGE_LEASE);
        bench.ends(500, "handler_trapped").await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

mod forge_registration {
    use super::*;

    #[tokio::test]
    async fn is_never_answered_201() {
        Bench::new(guests::FORGE_REGISTRATION)
            .ends(500, "handler_trapped")
            .await;
    }
}

mod sleep_holding_lease {
    use super::*;

    #[tokio::test]
    async fn ends_at_the_wall_time_and_is_released() {
        let bench = Bench::new(guests::SLEEP_HOLDING_LEASE);
        let body = serde_json::json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "60000" } });
        bench
            .host
            .post_json("t", &body)
            .await
            .is_problem(504, "handler_deadline");
        bench.has_no_lock_soon().await;
    }

    #[tokio::test]
    async fn is_released_when_its_client_hangs_up() {
        let bench = Bench::new(guests::SLEEP_HOLDING_LEASE);
        drop(bench.hold(400).await);
        bench.has_no_lock_soon().await;
    }

    #[tokio::test]
    async fn expires_when_its_host_is_killed() {
        let memcached = Memcached::start();
        let config = "[lock]\nlease = \"1s\"\n";
        let host = Builder::new()
            .config(config)
            .lock(&memcached)
            .tenant("t", guests::SLEEP_HOLDING_LEASE, "")
            .start();
        let mut bench = Bench { host, memcached };
        let stream = bench.hold(4000).await;
        bench.host.process.kill();
        drop(stream);
        assert!(
            !bench.memcached.raw().lock_keys().is_empty(),
            "nobody can have released it"
        );
        // One second of lease, two for memcached's clock, one for its stalls.
        let key = namelock_lock::LockKey::new("t", "room").unwrap();
        let gone = wait_for(Duration::from_secs(6), || {
            bench.memcached.raw().get(key.as_str()).is_none()
        })
        .await;
        assert!(gone.is_some(), "the lock outlived its time");
    }
}
