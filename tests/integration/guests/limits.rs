//! What a guest wants too much of.

use std::io::Write;
use std::time::Instant;

use namelock_test_artifacts::guests;

use super::{Bench, SHORT_CALLS, check};
use crate::fixture::LONG_LEASES;

pub(super) mod spin_in_start {
    use super::*;
    use crate::ends::spin_in_start::ENDS;

    #[tokio::test]
    async fn is_refused_after_its_cpu_time() {
        let bench = Bench::with(guests::SPIN_IN_START, LONG_LEASES, SHORT_CALLS);
        bench.ends(ENDS).await;
    }
}

pub(super) mod grow_memory {
    use super::*;
    use crate::ends::grow_memory::ENDS;

    #[tokio::test]
    async fn ends_with_a_code_of_its_own() {
        Bench::new(guests::GROW_MEMORY, ENDS).ends(ENDS).await;
    }
}

pub(super) mod recurse {
    use super::*;
    use crate::ends::recurse::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RECURSE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod log_flood {
    use super::*;
    use crate::ends::log_flood::ENDS;

    #[tokio::test]
    async fn is_logged_up_to_its_limit() {
        let bench = Bench::new(guests::LOG_FLOOD, ENDS);
        bench.ends(ENDS).await;
        let log = bench.host.log();
        assert!(log.contains("more output is dropped"), "{log}");
        assert!(log.len() < 200_000, "{} bytes were logged", log.len());
    }
}

pub(super) mod log_short_lines {
    use super::*;
    use crate::ends::log_short_lines::ENDS;

    /// Bytes of a file that belong to a tenant's guest.
    fn guest_bytes(log: &str) -> usize {
        let lines = log.lines().filter(|line| line.contains("guest:"));
        lines.map(|line| line.len() + 1).sum()
    }

    // Shows P6: what is charged is what is written.
    #[tokio::test]
    async fn take_no_more_of_the_log_than_the_call_may() {
        let bench = Bench::new(guests::LOG_SHORT_LINES, ENDS);
        check(&bench.post("room").await, ENDS);
        let log = bench.host.log();
        assert_eq!(
            log.matches("more output is dropped (limits.log_bytes)").count(),
            1,
            "{log}"
        );
        // Within a tenth of the default, and the line that says so.
        let bytes = guest_bytes(&log);
        assert!((10 << 10..18 << 10).contains(&bytes), "{bytes}");
    }

    #[tokio::test]
    async fn of_all_calls_share_a_rate() {
        let limits = r#"
            [limits]
            cpu_time = "30s"
            wall_time = "5m"
            log_rate = "1KiB"
        "#;
        let bench = Bench::with(guests::LOG_SHORT_LINES, LONG_LEASES, limits);
        let begin = Instant::now();
        for _ in 0..20 {
            check(&bench.post("room").await, ENDS);
        }
        let log = bench.host.log();
        let most = (1 << 10) * (10 + usize::try_from(begin.elapsed().as_secs()).unwrap() + 1);
        let bytes = guest_bytes(&log);
        assert!((5 << 10..most * 11 / 10).contains(&bytes), "{bytes} of {most}");
    }
}

pub(super) mod save_for_no_end {
    use super::*;
    use crate::ends::save_for_no_end::ENDS;

    #[tokio::test]
    async fn ends_at_the_writes_of_a_call() {
        let answer = Bench::new(guests::SAVE_FOR_NO_END, ENDS).ends(ENDS).await;
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the tenant is at its limits.writes; its handler says: "),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn ends_at_the_rate_of_its_tenant() {
        let limits = r#"
            [limits]
            cpu_time = "30s"
            wall_time = "5m"
            writes = 1000
            write_rate = 1
        "#;
        let config = format!("{LONG_LEASES} writes = 1000");
        let bench = Bench::with(guests::SAVE_FOR_NO_END, &config, limits);
        let answer = bench.post("room").await;
        check(&answer, ENDS);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the tenant is at its limits.write_rate; its handler says: "),
            "{detail}"
        );
        assert!(
            answer.body["retry_after_ms"].as_u64().unwrap() <= 1000,
            "{:?}",
            answer.body
        );
        bench.has_no_lock().await;
    }
}

pub(super) mod acquire_in_a_loop {
    use super::*;
    use crate::ends::acquire_in_a_loop::ENDS;

    #[tokio::test]
    async fn gets_the_lock_each_time() {
        let answer = Bench::new(guests::ACQUIRE_IN_A_LOOP, ENDS).ends(ENDS).await;
        assert_eq!(answer.body["detail"], "got 200");
    }

    // Shows P6: what a guest meets in a loop is one line in the log of the host, while a service fails.
    #[tokio::test]
    async fn does_not_fill_the_log_while_memcached_is_away() {
        let mut bench = Bench::new(guests::ACQUIRE_IN_A_LOOP, ENDS);
        bench.memcached.kill();
        for _ in 0..3 {
            let answer = bench.post("room").await;
            assert_eq!(answer.body["detail"], "got 0");
        }
        let log = bench.host.log();
        assert_eq!(log.matches("it does not answer as it should").count(), 1, "{log}");
        assert!(!log.contains("a lock could not be granted"), "{log}");
    }
}

pub(super) mod dirty_memory {
    use super::*;
    use crate::ends::dirty_memory::ENDS;

    #[tokio::test]
    async fn is_given_back_and_the_next_call_is_served() {
        Bench::new(guests::DIRTY_MEMORY, ENDS).ends(ENDS).await;
    }

    // Shows P6: callers that hang up while their calls have much memory leave room for others.
    #[tokio::test]
    async fn of_callers_that_hang_up_leaves_room_for_others() {
        let bench = Bench::new(guests::DIRTY_MEMORY, ENDS);
        for round in 0..5 {
            let body = format!(r#"{{"name":"room {round}","owner":"ann"}}"#);
            let request = format!(
                "POST /v1/t/names HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut streams: Vec<_> = (0..16).map(|_| bench.host.connect()).collect();
            for stream in &mut streams {
                stream.write_all(request.as_bytes()).unwrap();
            }
        }
        assert_eq!(bench.host.post("good", "meanwhile", "ann").await.status, 201);
        bench.ends(ENDS).await;
    }
}

pub(super) mod host_call_flood {
    use super::*;
    use crate::ends::host_call_flood::ENDS;

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::HOST_CALL_FLOOD, ENDS).ends(ENDS).await;
    }
}

pub(super) mod big_string_out {
    use super::*;
    use crate::ends::big_string_out::ENDS;

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::BIG_STRING_OUT, ENDS).ends(ENDS).await;
    }
}

pub(super) mod handle_flood {
    use super::*;
    use crate::ends::handle_flood::ENDS;

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::HANDLE_FLOOD, ENDS).ends(ENDS).await;
    }
}

pub(super) mod random_flood {
    use super::*;
    use crate::ends::random_flood::ENDS;

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::RANDOM_FLOOD, ENDS).ends(ENDS).await;
    }
}

pub(super) mod many_attributes {
    use super::*;
    use crate::ends::many_attributes::ENDS;

    #[tokio::test]
    async fn are_not_saved() {
        let bench = Bench::new(guests::MANY_ATTRIBUTES, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod big_attributes {
    use super::*;
    use crate::ends::big_attributes::ENDS;

    #[tokio::test]
    async fn are_not_saved() {
        let bench = Bench::new(guests::BIG_ATTRIBUTES, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod giant_list {
    use super::*;
    use crate::ends::giant_list::ENDS;

    #[tokio::test]
    async fn is_not_read() {
        Bench::new(guests::GIANT_LIST, ENDS).ends(ENDS).await;
    }
}

pub(super) mod giant_answer {
    use super::*;
    use crate::ends::giant_answer::ENDS;

    #[tokio::test]
    async fn is_not_read() {
        Bench::new(guests::GIANT_ANSWER, ENDS).ends(ENDS).await;
    }
}

pub(super) mod giant_detail {
    use super::*;
    use crate::ends::giant_detail::ENDS;

    #[tokio::test]
    async fn is_cut_between_two_letters() {
        let answer = Bench::new(guests::GIANT_DETAIL, ENDS).ends(ENDS).await;
        assert_eq!(answer.body["detail"], "\u{1d11e}".repeat(256));
    }
}

pub(super) mod save_for_no_time {
    use super::*;
    use crate::ends::save_for_no_time::ENDS;

    #[tokio::test]
    async fn is_refused() {
        let bench = Bench::new(guests::SAVE_FOR_NO_TIME, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod save_for_ever {
    use super::*;
    use crate::ends::save_for_ever::ENDS;

    #[tokio::test]
    async fn is_refused() {
        let bench = Bench::new(guests::SAVE_FOR_EVER, ENDS);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod find_giant_name {
    use super::*;
    use crate::ends::find_giant_name::ENDS;

    #[tokio::test]
    async fn is_refused() {
        Bench::new(guests::FIND_GIANT_NAME, ENDS).ends(ENDS).await;
    }
}

pub(super) mod odd_names {
    use super::*;
    use crate::ends::odd_names::ENDS;

    #[tokio::test]
    async fn are_saved_as_they_are_or_refused() {
        let bench = Bench::new(guests::ODD_NAMES, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "6 saved, 3 refused");
    }
}

pub(super) mod big_frames {
    use super::*;
    use crate::ends::big_frames::ENDS;

    #[tokio::test]
    async fn end_as_a_trap() {
        Bench::new(guests::BIG_FRAMES, ENDS).ends(ENDS).await;
    }
}

pub(super) mod read_rate {
    use super::*;

    // Shows P6: the threads that read are shared, and none of a tenant's calls reads more than its share.
    #[tokio::test]
    async fn ends_at_the_rate_of_its_tenant() {
        let limits = r#"
            [limits]
            cpu_time = "30s"
            wall_time = "5m"
            read_rate = 1
        "#;
        let bench = Bench::with(guests::FIND_IN_A_LOOP, LONG_LEASES, limits);
        let answer = bench.post("room").await;
        check(&answer, (429, "tenant_limit"));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the tenant is at its limits.read_rate; its handler says: "),
            "{detail}"
        );
    }
}

pub(super) mod straight_line {
    use super::*;
    use crate::ends::straight_line::ENDS;

    // Shows P6: a guest that is never at a place where it could be stopped does not keep its processor.
    #[tokio::test]
    async fn is_ended_where_it_could_not_be_stopped() {
        let bench = Bench::new(guests::STRAIGHT_LINE, ENDS);
        bench.ends(ENDS).await;
        let log = bench.host.log();
        assert!(log.contains("where it could be stopped"), "{log}");
    }
}

pub(super) mod recurse_in_start {
    use super::*;
    use crate::ends::recurse_in_start::ENDS;

    #[tokio::test]
    async fn is_refused_before_anybody_calls_it() {
        Bench::new(guests::RECURSE_IN_START, ENDS).ends(ENDS).await;
    }
}

pub(super) mod fill_memory {
    use super::*;
    use crate::ends::fill_memory::ENDS;

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::FILL_MEMORY, ENDS).ends(ENDS).await;
    }
}

pub(super) mod nearly_all_memory {
    use super::*;
    use crate::ends::nearly_all_memory::ENDS;

    #[tokio::test]
    async fn is_given() {
        let bench = Bench::new(guests::NEARLY_ALL_MEMORY, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "had it");
    }
}

pub(super) mod grow_table {
    use super::*;
    use crate::ends::grow_table::ENDS;

    #[tokio::test]
    async fn ends_with_the_code_of_memory() {
        Bench::new(guests::GROW_TABLE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod grow_many_memories {
    use super::*;
    use crate::ends::grow_many_memories::ENDS;

    #[tokio::test]
    async fn share_one_limit() {
        Bench::new(guests::GROW_MANY_MEMORIES, ENDS).ends(ENDS).await;
    }
}

pub(super) mod grow_memory_at_once {
    use super::*;
    use crate::ends::grow_memory_at_once::ENDS;

    #[tokio::test]
    async fn ends_with_the_code_of_memory() {
        Bench::new(guests::GROW_MEMORY_AT_ONCE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod sleep_for_ever {
    use super::*;
    use crate::ends::sleep_for_ever::ENDS;

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        Bench::new(guests::SLEEP_FOR_EVER, ENDS).ends(ENDS).await;
    }
}
