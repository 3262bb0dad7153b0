//! What a guest says that no compiler would: it breaks the rules by which components speak to their host.

use namelock_test_artifacts::guests;

use super::{Bench, Ends};

pub(super) mod return_wild_pointer {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_WILD_POINTER).ends(ENDS).await;
    }
}

pub(super) mod return_odd_pointer {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_ODD_POINTER).ends(ENDS).await;
    }
}

pub(super) mod return_unknown_case {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_UNKNOWN_CASE).ends(ENDS).await;
    }
}

pub(super) mod return_endless_list {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_ENDLESS_LIST).ends(ENDS).await;
    }
}

pub(super) mod return_broken_text {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_BROKEN_TEXT).ends(ENDS).await;
    }
}

pub(super) mod acquire_broken_text {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::ACQUIRE_BROKEN_TEXT).ends(ENDS).await;
    }
}

pub(super) mod acquire_wild_pointer {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::ACQUIRE_WILD_POINTER).ends(ENDS).await;
    }
}

pub(super) mod acquire_into_nowhere {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap_and_is_released() {
        Bench::new(guests::ACQUIRE_INTO_NOWHERE).ends(ENDS).await;
    }
}

pub(super) mod drop_twice {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::DROP_TWICE).ends(ENDS).await;
    }
}

pub(super) mod lie_in_realloc {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::LIE_IN_REALLOC).ends(ENDS).await;
    }
}

pub(super) mod spin_in_realloc {
    use super::*;

    pub(crate) const ENDS: Ends = (504, "handler_deadline");

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::SPIN_IN_REALLOC).ends(ENDS).await;
    }
}

pub(super) mod call_in_realloc {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::CALL_IN_REALLOC).ends(ENDS).await;
    }
}

pub(super) mod trap_after_return {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::TRAP_AFTER_RETURN).ends(ENDS).await;
    }
}

pub(super) mod trap_in_start {
    use super::*;

    pub(crate) const ENDS: Ends = (500, "handler_trapped");

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::TRAP_IN_START).ends(ENDS).await;
    }
}

pub(super) mod too_many_memories {
    use super::*;

    pub(crate) const ENDS: Ends = (503, "tenant_unavailable");

    #[tokio::test]
    async fn are_not_loaded() {
        Bench::new(guests::TOO_MANY_MEMORIES).ends(ENDS).await;
    }
}

pub(super) mod too_big_memory {
    use super::*;

    pub(crate) const ENDS: Ends = (503, "tenant_unavailable");

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::TOO_BIG_MEMORY).ends(ENDS).await;
    }
}

pub(super) mod too_big_table {
    use super::*;

    pub(crate) const ENDS: Ends = (503, "tenant_unavailable");

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::TOO_BIG_TABLE).ends(ENDS).await;
    }
}
