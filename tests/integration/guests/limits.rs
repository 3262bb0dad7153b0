//! What a guest wants too much of.

use namelock_test_artifacts::guests;

use super::Bench;

pub(super) mod spin_in_start {
    use super::*;
    use crate::ends::spin_in_start::ENDS;

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::SPIN_IN_START, ENDS).ends(ENDS).await;
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

pub(super) mod recurse_in_start {
    use super::*;
    use crate::ends::recurse_in_start::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
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
