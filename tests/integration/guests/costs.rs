//! What costs the host more than it costs the guest: the log, backtraces, memory to be given back, calls of the host.

use namelock_test_artifacts::guests;

use super::{Bench, Ends};

/// The longest that the log of two failed calls and a start may be, in bytes: what a guest writes is bounded by its budget.
const LOG_MAX: usize = 100 << 10;

/// A module for each guest whose calls only have to end as they should, and leave nothing behind.
macro_rules! end_as_stated {
    ($($guest:ident)+) => {
        $(pub(super) mod $guest {
            use super::*;
            use crate::ends::$guest::ENDS;

            #[tokio::test]
            async fn ends_as_stated() {
                Bench::new(component(stringify!($guest)), ENDS).ends(ENDS).await;
            }
        })+
    };
}

end_as_stated! {
    busy_for_ever clock_flood detail_with_control_characters dirty_memory_and_sleep
    dirty_memory_and_trap dirty_memory_in_start find_in_a_loop long_call many_short_sleeps owner_with_control_characters
    poll_flood remaining_flood renew_in_a_loop save_and_free_in_a_loop settings_flood sparse_data
}

/// A module for each guest that must not fill the log, or write in it what looks like a line of the host's.
macro_rules! leave_the_log_alone {
    ($($guest:ident)+) => {
        $(pub(super) mod $guest {
            use super::*;
            use crate::ends::$guest::ENDS;

            #[tokio::test]
            async fn leaves_the_log_alone() {
                check_log(component(stringify!($guest)), ENDS).await;
            }
        })+
    };
}

leave_the_log_alone! {
    log_control_characters log_events log_invalid_utf8 log_then_trap log_to_both log_without_newline
    trap_in_long_name trap_in_mangled_name
}

pub(super) mod save_in_a_loop {
    use super::*;
    use crate::ends::save_in_a_loop::ENDS;

    // Shows P6: writes of a call have a limit of their own.
    #[tokio::test]
    async fn ends_at_its_limit() {
        Bench::new(guests::SAVE_IN_A_LOOP, ENDS).ends(ENDS).await;
    }
}

fn component(name: &str) -> &'static str {
    let (_, path) = guests::ALL.iter().find(|(guest, _)| *guest == name).unwrap();
    path
}

async fn check_log(component: &str, ends: Ends) {
    let bench = Bench::new(component, ends);
    bench.ends(ends).await;
    let log = bench.host.log();
    assert!(log.len() < LOG_MAX, "{} bytes were logged", log.len());
    let forged = log.lines().find(|line| line.starts_with("2026-01-01T00:00:00Z"));
    assert_eq!(forged, None, "a guest has written a line of the host's");
    let control = log.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "a control character is in the log");
}
