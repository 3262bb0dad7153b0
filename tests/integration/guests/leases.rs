//! What a guest does with leases and names.

use std::time::{Duration, Instant};

use namelock_test_artifacts::guests;
use serde_json::json;

use super::Bench;
use crate::fixture::{Builder, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken};

/// A lease that ends long before a call does, and that leaves time enough for a handler that does as it should.
const LEASE: Duration = Duration::from_secs(3);
const SHORT_LEASES: &str = r#"
    [lock]
    lease = "3s"
    max_hold = "4s"
    [names]
    busy_timeout = "500ms"
    [limits.max]
    cpu_time = "30s"
    wall_time = "5m"
"#;

pub(super) mod plain {
    use super::*;
    use crate::ends::plain::ENDS;

    #[tokio::test]
    async fn saves_any_name_as_it_is() {
        let bench = Bench::new(guests::PLAIN, ENDS);
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
        bench.has_no_lock().await;
    }
}

pub(super) mod trap_holding_lease {
    use super::*;
    use crate::ends::trap_holding_lease::ENDS;

    // Shows P3: a trap releases the lock.
    #[tokio::test]
    async fn is_released_and_the_log_says_where() {
        let bench = Bench::new(guests::TRAP_HOLDING_LEASE, ENDS);
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
    use crate::ends::panic_holding_lease::ENDS;

    #[tokio::test]
    async fn is_released_and_the_log_has_its_words() {
        let bench = Bench::new(guests::PANIC_HOLDING_LEASE, ENDS);
        bench.ends(ENDS).await;
        assert!(bench.host.log().contains("panicked at"), "{}", bench.host.log());
    }
}

pub(super) mod spin_holding_lease {
    use super::*;
    use crate::ends::spin_holding_lease::ENDS;

    // Shows P3: a handler that spins is ended, and its lock is released.
    #[tokio::test]
    async fn ends_at_the_cpu_time_and_is_released() {
        Bench::new(guests::SPIN_HOLDING_LEASE, ENDS).ends(ENDS).await;
    }

    #[tokio::test]
    async fn is_not_told_that_it_called_the_host_too_often() {
        let limits = r#"
            [limits]
            cpu_time = "300ms"
            wall_time = "5m"
            host_calls = 20
        "#;
        // It calls the host a few times. The ticks that stop it are many more, and not its calls.
        let bench = Bench::with(guests::SPIN_HOLDING_LEASE, LONG_LEASES, limits);
        bench.post("room").await.is_problem(ENDS.0, ENDS.1);
        bench.has_no_lock().await;
    }

    #[tokio::test]
    async fn is_ended_with_its_lease() {
        let bench = Bench::with(guests::SPIN_HOLDING_LEASE, SHORT_LEASES, LONG_CALLS);
        bench.ends((503, "lease_lost")).await;
    }
}

pub(super) mod keep_lease {
    use super::*;
    use crate::ends::keep_lease::ENDS;

    #[tokio::test]
    async fn is_released_by_the_host() {
        Bench::new(guests::KEEP_LEASE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod hoard_leases {
    use super::*;
    use crate::ends::hoard_leases::ENDS;

    #[tokio::test]
    async fn gets_no_more_than_its_limit() {
        let answer = Bench::new(guests::HOARD_LEASES, ENDS).ends(ENDS).await;
        assert_eq!(answer.body["detail"], "got 8");
    }
}

pub(super) mod use_after_release {
    use super::*;
    use crate::ends::use_after_release::ENDS;

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::new(guests::USE_AFTER_RELEASE, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod forge_lease {
    use super::*;
    use crate::ends::forge_lease::ENDS;

    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::new(guests::FORGE_LEASE, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod forge_registration {
    use super::*;
    use crate::ends::forge_registration::ENDS;

    #[tokio::test]
    async fn is_never_answered_201() {
        Bench::new(guests::FORGE_REGISTRATION, ENDS).ends(ENDS).await;
    }
}

pub(super) mod steal {
    use super::*;
    use crate::ends::steal::ENDS;

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
    use crate::ends::sleep_holding_lease::ENDS;

    /// Far longer than anything in here takes.
    const FOREVER_MS: u32 = 200_000;

    fn hold_forever() -> serde_json::Value {
        json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": FOREVER_MS.to_string() } })
    }

    // Shows P3: a call that runs out of time releases its lock.
    #[tokio::test]
    async fn ends_at_the_wall_time_and_is_released() {
        let bench = Bench::new(guests::SLEEP_HOLDING_LEASE, ENDS);
        let answer = bench.host.post_json("t", &hold_forever()).await;
        answer.is_problem(ENDS.0, ENDS.1);
        bench.has_no_lock().await;
    }

    // Shows P5: a handler that waits is ended with its lease, and not before.
    #[tokio::test]
    async fn is_ended_with_its_lease() {
        let bench = Bench::with(guests::SLEEP_HOLDING_LEASE, SHORT_LEASES, LONG_CALLS);
        let begin = Instant::now();
        let answer = bench.host.post_json("t", &hold_forever()).await;
        answer.is_problem(503, "lease_lost");
        // The lease counts from before its request was sent, which was after this call began. The host looks a bit early.
        let held = begin.elapsed();
        assert!(held >= LEASE - Duration::from_millis(100), "{held:?}");
        bench.has_no_lock().await;
    }

    // Shows P5: a lease that memcached has forgotten is not trusted until its own end.
    // Shows P7: and nothing is granted before every forgotten lease has ended.
    #[tokio::test]
    async fn is_ended_when_memcached_forgets_its_lease() {
        let bench = Bench::with(guests::SLEEP_HOLDING_LEASE, LONG_LEASES, LONG_CALLS);
        let request = hold_forever();
        let (answer, ()) = tokio::join!(bench.host.post_json("t", &request), async {
            lock_is_taken(&bench.memcached).await;
            assert_eq!(bench.memcached.raw().command("flush_all"), "OK");
        });
        answer.is_problem(503, "lease_lost");
        let refused = bench.host.post("good", "room", "ann").await;
        refused.is_problem(503, "lock_unavailable");
        let lease_ms = 5 * 60 * 1000;
        let retry_after_ms = refused.body["retry_after_ms"].as_u64();
        assert!(
            retry_after_ms.is_some_and(|wait| wait <= lease_ms),
            "{:?}",
            refused.body
        );
    }

    // Shows P3: a client that hangs up ends its call, and the lock is released.
    #[tokio::test]
    async fn is_released_when_its_client_hangs_up() {
        let bench = Bench::with(guests::SLEEP_HOLDING_LEASE, LONG_LEASES, LONG_CALLS);
        drop(bench.hold(FOREVER_MS).await);
        bench.has_no_lock().await;
    }

    // Shows P3: the lock of a host that dies expires.
    #[tokio::test]
    async fn expires_when_its_host_is_killed() {
        let mut bench = Bench::with(guests::SLEEP_HOLDING_LEASE, SHORT_LEASES, LONG_CALLS);
        let stream = bench.hold(FOREVER_MS).await;
        bench.host.process.kill();
        drop(stream);
        let keys = bench.memcached.raw().lock_keys();
        assert!(!keys.is_empty(), "nobody can have released it");
        // It lives for three seconds of lease, two for memcached's clock and one for its stalls. The crawler that lists
        // keys may list one that has expired.
        let key = namelock_lock::LockKey::new("t", "room").unwrap();
        eventually("the lock expires", async || {
            bench.memcached.raw().get(key.as_str()).is_none()
        })
        .await;
    }
}

pub(super) mod exit_holding_lease {
    use super::*;
    use crate::ends::exit_holding_lease::ENDS;

    #[tokio::test]
    async fn is_no_success_and_is_released() {
        let bench = Bench::new(guests::EXIT_HOLDING_LEASE, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod panic_in_drop {
    use super::*;
    use crate::ends::panic_in_drop::ENDS;

    #[tokio::test]
    async fn loses_its_answer_and_not_what_it_saved() {
        let bench = Bench::new(guests::PANIC_IN_DROP, ENDS);
        bench.ends(ENDS).await;
        assert_eq!(bench.host.get("t", "room").await.status, 200);
    }
}

pub(super) mod wait_long {
    use super::*;
    use crate::ends::wait_long::ENDS;

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        Bench::new(guests::WAIT_LONG, ENDS).ends(ENDS).await;
    }
}

pub(super) mod renew_for_ever {
    use super::*;
    use crate::ends::renew_for_ever::ENDS;

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        Bench::new(guests::RENEW_FOR_EVER, ENDS).ends(ENDS).await;
    }

    #[tokio::test]
    async fn is_ended_when_it_has_held_for_as_long_as_it_may() {
        let bench = Bench::with(guests::RENEW_FOR_EVER, SHORT_LEASES, LONG_CALLS);
        let begin = Instant::now();
        bench.ends((503, "lease_lost")).await;
        let held = begin.elapsed();
        assert!(held > LEASE, "it was renewed: {held:?}");
    }

    #[tokio::test]
    async fn is_told_of_a_lease_that_cannot_be_renewed() {
        let mut bench = Bench::with(guests::RENEW_FOR_EVER, LONG_LEASES, LONG_CALLS);
        let Bench { host, memcached } = &mut bench;
        let kill = async {
            lock_is_taken(memcached).await;
            memcached.kill();
        };
        let (answer, ()) = tokio::join!(host.post("t", "room", "ann"), kill);
        answer.is_problem(503, "lease_lost");
    }
}

pub(super) mod churn_leases {
    use super::*;
    use crate::ends::churn_leases::ENDS;

    #[tokio::test]
    async fn leaves_none_behind() {
        let bench = Bench::new(guests::CHURN_LEASES, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "20 times");
    }
}

pub(super) mod lease_in_global {
    use super::*;
    use crate::ends::lease_in_global::ENDS;

    #[tokio::test]
    async fn finds_no_lease_of_an_earlier_call() {
        let bench = Bench::new(guests::LEASE_IN_GLOBAL, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod taken_by_itself {
    use super::*;
    use crate::ends::taken_by_itself::ENDS;

    #[tokio::test]
    async fn gets_no_name_twice() {
        Bench::new(guests::TAKEN_BY_ITSELF, ENDS).ends(ENDS).await;
    }
}

pub(super) mod save_too_late {
    use super::*;
    use crate::ends::save_too_late::ENDS;

    // Shows P5: nothing is saved under a lease that may end before the database has answered.
    #[tokio::test]
    async fn saves_nothing() {
        let bench = Bench::with(guests::SAVE_TOO_LATE, SHORT_LEASES, LONG_CALLS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod save_another_name {
    use super::*;
    use crate::ends::save_another_name::ENDS;

    #[tokio::test]
    async fn is_told_with_the_name_that_was_saved() {
        let bench = Bench::new(guests::SAVE_ANOTHER_NAME, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["name"], "not room");
        assert_eq!(answer.headers["location"], "/v1/t/names/not%20room");
        assert_eq!(bench.host.get("t", "not%20room").await.status, 200);
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod trap_in_free {
    use super::*;
    use crate::ends::trap_in_free::ENDS;

    #[tokio::test]
    async fn frees_nothing_and_releases_the_lock() {
        let bench = Bench::new(guests::TRAP_IN_FREE, ENDS);
        bench.ends(ENDS).await;
        let answer = bench.host.delete("t", "room", "ann").await;
        answer.is_problem(500, "handler_trapped");
        bench.has_no_lock().await;
        assert_eq!(bench.host.get("t", "room").await.status, 200);
    }
}

pub(super) mod spin_in_free {
    use super::*;
    use crate::ends::spin_in_free::ENDS;

    #[tokio::test]
    async fn ends_at_the_cpu_time_and_frees_nothing() {
        let limits = r#"
            [limits]
            cpu_time = "2s"
            wall_time = "5m"
        "#;
        let bench = Bench::with(guests::SPIN_IN_FREE, LONG_LEASES, limits);
        bench.ends(ENDS).await;
        let answer = bench.host.delete("t", "room", "ann").await;
        answer.is_problem(504, "handler_deadline");
        bench.has_no_lock().await;
        assert_eq!(bench.host.get("t", "room").await.status, 200);
    }
}

pub(super) mod critical_section {
    use super::*;
    use crate::ends::critical_section::ENDS;

    #[tokio::test]
    async fn says_for_how_long_it_trusts_its_lease() {
        let bench = Bench::new(guests::CRITICAL_SECTION, ENDS);
        bench.ends(ENDS).await;
        let body = json!({ "name": "x", "owner": "ann", "attributes": { "work_ms": "100" } });
        assert_eq!(bench.host.post_json("t", &body).await.status, 201);
        let log = bench.host.log();
        assert!(log.contains("section begin ") && log.contains("section on "), "{log}");
    }
}
