//! What a guest does with leases and names.

use std::time::{Duration, Instant};

use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;

use super::{Bench, Ends};
use crate::fixture::{Builder, wait_for};

pub(super) mod plain {
    use super::*;

    pub(crate) const ENDS: Ends = (201, "201");

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

pub(super) mod trap_holding_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn is_released_and_the_log_says_where() {
        let bench = Bench::new(guests::TRAP_HOLDING_LEASE);
        bench.ends(ENDS).await;
        let log = bench.host.log();
        assert!(
            log.contains("unreachable") && log.contains("trap_holding_lease"),
            "{log}"
        );
    }
}

pub(super) mod panic_holding_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn is_released_and_the_log_has_its_words() {
        let bench = Bench::new(guests::PANIC_HOLDING_LEASE);
        bench.ends(ENDS).await;
        assert!(bench.host.log().contains("panicked at"), "{}", bench.host.log());
    }
}

/// A lease that ends long before everything else, and that the database could be written in.
const SHORT_LEASE: &str = "[lock]\nlease = \"1s\"\n[names]\nbusy_timeout = \"500ms\"\n[limits.max]\ncpu_time = \"30s\"\nwall_time = \"30s\"\n";
const LONG: &str = "[limits]\ncpu_time = \"30s\"\nwall_time = \"30s\"\n";

pub(super) mod spin_holding_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_cpu_time_and_is_released() {
        Bench::new(guests::SPIN_HOLDING_LEASE).ends(ENDS).await;
    }

    #[tokio::test]
    async fn is_ended_with_its_lease() {
        let bench = Bench::with(guests::SPIN_HOLDING_LEASE, SHORT_LEASE, LONG);
        let begin = Instant::now();
        bench.ends((503, "lease_lost")).await;
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }
}

pub(super) mod keep_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (423, "name_busy");

    #[tokio::test]
    async fn is_released_by_the_host() {
        Bench::new(guests::KEEP_LEASE).ends(ENDS).await;
    }
}

pub(super) mod hoard_leases {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn gets_no_more_than_its_limit() {
        let answer = Bench::new(guests::HOARD_LEASES).ends(ENDS).await;
        assert_eq!(answer.body["detail"], "got 8");
    }
}

pub(super) mod use_after_release {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::new(guests::USE_AFTER_RELEASE);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod forge_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::new(guests::FORGE_LEASE);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod forge_registration {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn is_never_answered_201() {
        Bench::new(guests::FORGE_REGISTRATION).ends(ENDS).await;
    }
}

pub(super) mod steal {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn does_not_see_another_tenants_names() {
        let host = Builder::new()
            .tenant("a", guests::PLAIN, "")
            .tenant("t", guests::STEAL, "")
            .start();
        assert_eq!(host.post("a", "room", "ann").await.status, 201);
        let answer = host.post("t", "room", "eve").await;
        answer.is_problem(ENDS.0, ENDS.1);
        assert_eq!(answer.body["detail"], "nobody");
    }
}

pub(super) mod sleep_holding_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_wall_time_and_is_released() {
        let bench = Bench::new(guests::SLEEP_HOLDING_LEASE);
        let body = serde_json::json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "60000" } });
        bench.host.post_json("t", &body).await.is_problem(ENDS.0, ENDS.1);
        bench.has_no_lock_soon().await;
    }

    #[tokio::test]
    async fn is_ended_with_its_lease() {
        let bench = Bench::with(guests::SLEEP_HOLDING_LEASE, SHORT_LEASE, LONG);
        let body = serde_json::json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "20000" } });
        let begin = Instant::now();
        bench.host.post_json("t", &body).await.is_problem(503, "lease_lost");
        assert!(
            (900..15_000).contains(&begin.elapsed().as_millis()),
            "{:?}",
            begin.elapsed()
        );
        bench.has_no_lock_soon().await;
    }

    #[tokio::test]
    async fn is_ended_when_memcached_forgets_its_lease() {
        let bench = Bench::with(
            guests::SLEEP_HOLDING_LEASE,
            "[limits.max]\nwall_time = \"30s\"\n",
            "[limits]\nwall_time = \"30s\"\n",
        );
        let body = serde_json::json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "25000" } });
        let begin = Instant::now();
        let (answer, ()) = tokio::join!(bench.host.post_json("t", &body), async {
            let held = wait_for(Duration::from_secs(10), || {
                !bench.memcached.raw().lock_keys().is_empty()
            })
            .await;
            assert!(held.is_some(), "the lock was never taken");
            assert_eq!(bench.memcached.raw().command("flush_all"), "OK");
        });
        answer.is_problem(503, "lease_lost");
        assert!(
            begin.elapsed() < Duration::from_secs(9),
            "before its time is over: {:?}",
            begin.elapsed()
        );
        let refused = bench.host.post("good", "room", "ann").await;
        refused.is_problem(503, "lock_unavailable");
        assert!(
            refused.body["retry_after_ms"]
                .as_u64()
                .is_some_and(|wait| wait <= 10_000),
            "{:?}",
            refused.body
        );
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
        let config = SHORT_LEASE;
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

pub(super) mod exit_holding_lease {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn is_no_success_and_is_released() {
        let bench = Bench::new(guests::EXIT_HOLDING_LEASE);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod panic_in_drop {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn loses_its_answer_and_not_what_it_saved() {
        let bench = Bench::new(guests::PANIC_IN_DROP);
        bench.ends(ENDS).await;
        assert_eq!(bench.host.get("t", "room").await.status, 200);
    }
}

pub(super) mod wait_long {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        Bench::new(guests::WAIT_LONG).ends(ENDS).await;
    }
}

pub(super) mod renew_for_ever {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        Bench::new(guests::RENEW_FOR_EVER).ends(ENDS).await;
    }

    #[tokio::test]
    async fn is_ended_when_it_has_held_for_as_long_as_it_may() {
        let config = SHORT_LEASE.replace("lease = \"1s\"", "lease = \"1s\"\nmax_hold = \"2s\"");
        let bench = Bench::with(guests::RENEW_FOR_EVER, &config, LONG);
        let begin = Instant::now();
        bench.ends((503, "lease_lost")).await;
        let held = begin.elapsed();
        assert!((1900..15_000).contains(&held.as_millis()), "{held:?}");
    }

    #[tokio::test]
    async fn is_told_of_a_lease_that_cannot_be_renewed() {
        let mut bench = Bench::with(guests::RENEW_FOR_EVER, "", "");
        let Bench { host, memcached } = &mut bench;
        let kill = async {
            let held = wait_for(Duration::from_secs(10), || !memcached.raw().lock_keys().is_empty()).await;
            assert!(held.is_some(), "the lock was never taken");
            memcached.kill();
        };
        let (answer, ()) = tokio::join!(host.post("t", "room", "ann"), kill);
        answer.is_problem(503, "lease_lost");
    }
}

pub(super) mod churn_leases {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn leaves_none_behind() {
        let bench = Bench::new(guests::CHURN_LEASES);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "20 times");
    }
}

pub(super) mod lease_in_global {
    use super::*;

    pub(crate) const ENDS: Ends = (423, "name_busy");

    #[tokio::test]
    async fn finds_no_lease_of_an_earlier_call() {
        let bench = Bench::new(guests::LEASE_IN_GLOBAL);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod taken_by_itself {
    use super::*;

    pub(crate) const ENDS: Ends = (201, "201");

    #[tokio::test]
    async fn gets_no_name_twice() {
        Bench::new(guests::TAKEN_BY_ITSELF).ends(ENDS).await;
    }
}

pub(super) mod save_too_late {
    use super::*;

    pub(crate) const ENDS: Ends = (503, "lease_lost");

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::with(guests::SAVE_TOO_LATE, SHORT_LEASE, LONG);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod save_another_name {
    use super::*;

    pub(crate) const ENDS: Ends = (201, "201");

    #[tokio::test]
    async fn is_told_with_the_name_that_was_saved() {
        let bench = Bench::new(guests::SAVE_ANOTHER_NAME);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["name"], "not room");
        assert_eq!(answer.headers["location"], "/v1/t/names/not%20room");
        assert_eq!(bench.host.get("t", "not%20room").await.status, 200);
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod trap_in_free {
    use super::*;

    pub(crate) const ENDS: Ends = (201, "201");

    #[tokio::test]
    async fn frees_nothing_and_releases_the_lock() {
        let bench = Bench::new(guests::TRAP_IN_FREE);
        bench.ends(ENDS).await;
        let answer = bench.host.delete("t", "room", "ann").await;
        answer.is_problem(500, "handler_trapped");
        bench.has_no_lock_soon().await;
        assert_eq!(bench.host.get("t", "room").await.status, 200);
    }
}

pub(super) mod spin_in_free {
    use super::*;

    pub(crate) const ENDS: Ends = (201, "201");

    #[tokio::test]
    async fn ends_at_the_cpu_time_and_frees_nothing() {
        let bench = Bench::new(guests::SPIN_IN_FREE);
        bench.ends(ENDS).await;
        let answer = bench.host.delete("t", "room", "ann").await;
        answer.is_problem(504, "handler_deadline");
        bench.has_no_lock_soon().await;
        assert_eq!(bench.host.get("t", "room").await.status, 200);
    }
}

pub(super) mod critical_section {
    use super::*;

    pub(crate) const ENDS: Ends = (201, "201");

    #[tokio::test]
    async fn says_for_how_long_it_trusts_its_lease() {
        let bench = Bench::new(guests::CRITICAL_SECTION);
        bench.ends(ENDS).await;
        let body = serde_json::json!({ "name": "x", "owner": "ann", "attributes": { "work_ms": "100" } });
        assert_eq!(bench.host.post_json("t", &body).await.status, 201);
        let log = bench.host.log();
        assert!(log.contains("section begin ") && log.contains("section on "), "{log}");
    }
}
