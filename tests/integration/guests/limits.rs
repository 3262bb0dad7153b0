//! What a guest wants too much of.

use namelock_test_artifacts::guests;

use super::{Bench, Ends};

pub(super) mod spin_in_start {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::SPIN_IN_START).ends(ENDS).await;
    }
}

pub(super) mod grow_memory {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_out_of_memory");

    #[tokio::test]
    async fn ends_with_a_code_of_its_own() {
        Bench::new(guests::GROW_MEMORY).ends(ENDS).await;
    }
}

pub(super) mod recurse {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RECURSE).ends(ENDS).await;
    }
}

pub(super) mod log_flood {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_logged_up_to_its_limit() {
        let bench = Bench::new(guests::LOG_FLOOD);
        bench.ends(ENDS).await;
        let log = bench.host.log();
        assert!(log.contains("more output is dropped"), "{log}");
        assert!(log.len() < 200_000, "{} bytes were logged", log.len());
    }
}

pub(super) mod host_call_flood {
    use super::*;

    pub(crate) const ENDS: Ends = (429, "tenant_limit");

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::HOST_CALL_FLOOD).ends(ENDS).await;
    }
}

pub(super) mod big_string_out {
    use super::*;

    pub(crate) const ENDS: Ends = (429, "tenant_limit");

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::BIG_STRING_OUT).ends(ENDS).await;
    }
}

pub(super) mod handle_flood {
    use super::*;

    pub(crate) const ENDS: Ends = (429, "tenant_limit");

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::HANDLE_FLOOD).ends(ENDS).await;
    }
}

pub(super) mod random_flood {
    use super::*;

    pub(crate) const ENDS: Ends = (429, "tenant_limit");

    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::RANDOM_FLOOD).ends(ENDS).await;
    }
}

pub(super) mod many_attributes {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn are_not_saved() {
        let bench = Bench::new(guests::MANY_ATTRIBUTES);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod big_attributes {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn are_not_saved() {
        let bench = Bench::new(guests::BIG_ATTRIBUTES);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod giant_list {
    use super::*;

    pub(crate) const ENDS: Ends = (429, "tenant_limit");

    #[tokio::test]
    async fn is_not_read() {
        Bench::new(guests::GIANT_LIST).ends(ENDS).await;
    }
}

pub(super) mod giant_answer {
    use super::*;

    pub(crate) const ENDS: Ends = (429, "tenant_limit");

    #[tokio::test]
    async fn is_not_read() {
        Bench::new(guests::GIANT_ANSWER).ends(ENDS).await;
    }
}

pub(super) mod giant_detail {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_cut_between_two_letters() {
        let answer = Bench::new(guests::GIANT_DETAIL).ends(ENDS).await;
        assert_eq!(answer.body["detail"], "\u{1d11e}".repeat(256));
    }
}

pub(super) mod save_for_no_time {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_refused() {
        let bench = Bench::new(guests::SAVE_FOR_NO_TIME);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod save_for_ever {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_refused() {
        let bench = Bench::new(guests::SAVE_FOR_EVER);
        bench.ends(ENDS).await;
        bench.host.get("t", "room").await.is_problem(404, "not_found");
    }
}

pub(super) mod find_giant_name {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_refused() {
        Bench::new(guests::FIND_GIANT_NAME).ends(ENDS).await;
    }
}

pub(super) mod odd_names {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn are_saved_as_they_are_or_refused() {
        let bench = Bench::new(guests::ODD_NAMES);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "6 saved, 3 refused");
    }
}

pub(super) mod big_frames {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn end_as_a_trap() {
        Bench::new(guests::BIG_FRAMES).ends(ENDS).await;
    }
}

pub(super) mod recurse_in_start {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RECURSE_IN_START).ends(ENDS).await;
    }
}

pub(super) mod fill_memory {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::FILL_MEMORY).ends(ENDS).await;
    }
}

pub(super) mod nearly_all_memory {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_given() {
        let bench = Bench::new(guests::NEARLY_ALL_MEMORY);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "had it");
    }
}

pub(super) mod grow_table {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_out_of_memory");

    #[tokio::test]
    async fn ends_with_the_code_of_memory() {
        Bench::new(guests::GROW_TABLE).ends(ENDS).await;
    }
}

pub(super) mod grow_many_memories {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_out_of_memory");

    #[tokio::test]
    async fn share_one_limit() {
        Bench::new(guests::GROW_MANY_MEMORIES).ends(ENDS).await;
    }
}

pub(super) mod grow_memory_at_once {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_out_of_memory");

    #[tokio::test]
    async fn ends_with_the_code_of_memory() {
        Bench::new(guests::GROW_MEMORY_AT_ONCE).ends(ENDS).await;
    }
}

pub(super) mod sleep_for_ever {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        Bench::new(guests::SLEEP_FOR_EVER).ends(ENDS).await;
    }
}
