//! What a guest says that no compiler would: it breaks the rules by which components speak to their host, or hopes that
//! what it says is written down.

use namelock_test_artifacts::guests;

use super::Bench;

pub(super) mod return_wild_pointer {
    use super::*;
    use crate::ends::return_wild_pointer::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_WILD_POINTER, ENDS).ends(ENDS).await;
    }
}

pub(super) mod return_odd_pointer {
    use super::*;
    use crate::ends::return_odd_pointer::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_ODD_POINTER, ENDS).ends(ENDS).await;
    }
}

pub(super) mod return_unknown_case {
    use super::*;
    use crate::ends::return_unknown_case::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_UNKNOWN_CASE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod return_endless_list {
    use super::*;
    use crate::ends::return_endless_list::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_ENDLESS_LIST, ENDS).ends(ENDS).await;
    }
}

pub(super) mod return_broken_text {
    use super::*;
    use crate::ends::return_broken_text::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::RETURN_BROKEN_TEXT, ENDS).ends(ENDS).await;
    }
}

pub(super) mod acquire_broken_text {
    use super::*;
    use crate::ends::acquire_broken_text::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::ACQUIRE_BROKEN_TEXT, ENDS).ends(ENDS).await;
    }
}

pub(super) mod acquire_wild_pointer {
    use super::*;
    use crate::ends::acquire_wild_pointer::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::ACQUIRE_WILD_POINTER, ENDS).ends(ENDS).await;
    }
}

pub(super) mod acquire_into_nowhere {
    use super::*;
    use crate::ends::acquire_into_nowhere::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap_and_is_released() {
        Bench::new(guests::ACQUIRE_INTO_NOWHERE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod drop_twice {
    use super::*;
    use crate::ends::drop_twice::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::DROP_TWICE, ENDS).ends(ENDS).await;
    }
}

pub(super) mod lie_in_realloc {
    use super::*;
    use crate::ends::lie_in_realloc::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::LIE_IN_REALLOC, ENDS).ends(ENDS).await;
    }
}

pub(super) mod spin_in_realloc {
    use super::*;
    use crate::ends::spin_in_realloc::ENDS;

    #[tokio::test]
    async fn ends_at_the_cpu_time() {
        Bench::new(guests::SPIN_IN_REALLOC, ENDS).ends(ENDS).await;
    }
}

pub(super) mod call_in_realloc {
    use super::*;
    use crate::ends::call_in_realloc::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::CALL_IN_REALLOC, ENDS).ends(ENDS).await;
    }
}

pub(super) mod trap_after_return {
    use super::*;
    use crate::ends::trap_after_return::ENDS;

    #[tokio::test]
    async fn ends_as_a_trap() {
        Bench::new(guests::TRAP_AFTER_RETURN, ENDS).ends(ENDS).await;
    }
}

pub(super) mod trap_in_start {
    use super::*;
    use crate::ends::trap_in_start::ENDS;

    #[tokio::test]
    async fn is_refused_before_anybody_calls_it() {
        Bench::new(guests::TRAP_IN_START, ENDS).ends(ENDS).await;
    }
}

pub(super) mod too_many_memories {
    use super::*;
    use crate::ends::too_many_memories::ENDS;

    #[tokio::test]
    async fn are_not_loaded() {
        Bench::new(guests::TOO_MANY_MEMORIES, ENDS).ends(ENDS).await;
    }
}

pub(super) mod too_big_memory {
    use super::*;
    use crate::ends::too_big_memory::ENDS;

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::TOO_BIG_MEMORY, ENDS).ends(ENDS).await;
    }
}

pub(super) mod too_big_table {
    use super::*;
    use crate::ends::too_big_table::ENDS;

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::TOO_BIG_TABLE, ENDS).ends(ENDS).await;
    }
}

/// The longest line about a trap: of each frame a name, an offset and what joins them.
const TRAP_LINE_MAX: usize = 16 * 140 + 300;

pub(super) mod symbols_in_frames {
    use super::*;
    use crate::ends::symbols_in_frames::ENDS;

    // Shows P6: what the host writes about a trap does not grow with what the component calls its functions.
    #[tokio::test]
    async fn are_cut_and_written_once() {
        let bench = Bench::new(guests::SYMBOLS_IN_FRAMES, ENDS);
        assert_eq!(bench.post("room").await.code(), ENDS.1);
        let log = bench.host.log();
        assert_eq!(log.matches("_Z1f1AIiiE").count(), 16, "{log}");
        assert!(!log.contains("A<int"), "{log}");
        let longest = log.lines().map(str::len).max().unwrap();
        assert!(longest < TRAP_LINE_MAX, "{longest}: {log}");
        bench.ends(ENDS).await;
    }
}

pub(super) mod forge_log_line {
    use super::*;
    use crate::ends::forge_log_line::ENDS;

    #[tokio::test]
    async fn does_not_begin_a_line() {
        let bench = Bench::new(guests::FORGE_LOG_LINE, ENDS);
        bench.ends(ENDS).await;
        let log = bench.host.log();
        assert!(log.contains(r"f\n2026-01-01T00:00:00.000000Z ERROR"), "{log}");
        assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00")), "{log}");
        assert!(!log.contains(&"x".repeat(101)), "{log}");
    }
}
