//! What a guest reaches for that it is not given, and what one call could learn of another.

use namelock_test_artifacts::guests;

use super::Bench;
use crate::fixture::Builder;

pub(super) mod no_export {
    use super::*;
    use crate::ends::no_export::ENDS;

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::NO_EXPORT, ENDS).ends(ENDS).await;
    }
}

pub(super) mod fail_as_named {
    use super::*;
    use crate::ends::fail_as_named::ENDS;

    #[tokio::test]
    async fn says_another_number_in_every_call() {
        let bench = Bench::new(guests::FAIL_AS_NAMED, ENDS);
        bench.post("a").await;
        bench.post("b").await;
        let log = bench.host.log();
        let drawn: Vec<_> = log.lines().filter_map(|line| line.split_once("drew ")).collect();
        assert!(drawn.len() == 2 && drawn[0].1 != drawn[1].1, "{log}");
    }
}

pub(super) mod wants_sockets {
    use super::*;
    use crate::ends::wants_sockets::ENDS;

    #[tokio::test]
    async fn is_loaded_and_reaches_nothing() {
        let bench = Bench::new(guests::WANTS_SOCKETS, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 of 6 worked: []");
        let log = bench.host.log();
        for attempt in ["connect: ", "connect6: ", "listen: ", "bind: ", "bind6: ", "look up: "] {
            assert!(log.contains(attempt), "{attempt}: {log}");
        }
    }
}

pub(super) mod open_files {
    use super::*;
    use crate::ends::open_files::ENDS;

    #[tokio::test]
    async fn finds_none() {
        let bench = Bench::new(guests::OPEN_FILES, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 worked");
    }
}

pub(super) mod read_environment {
    use super::*;
    use crate::ends::read_environment::ENDS;

    #[tokio::test]
    async fn finds_nothing() {
        let bench = Bench::new(guests::READ_ENVIRONMENT, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 and 0");
    }
}

pub(super) mod read_stdin {
    use super::*;
    use crate::ends::read_stdin::ENDS;

    #[tokio::test]
    async fn is_at_its_end() {
        let bench = Bench::new(guests::READ_STDIN, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 bytes");
    }
}

pub(super) mod measure_time {
    use super::*;
    use crate::ends::measure_time::ENDS;

    #[tokio::test]
    async fn sees_whole_milliseconds() {
        let bench = Bench::new(guests::MEASURE_TIME, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "1000000 ns");
    }
}

pub(super) mod count_calls {
    use super::*;
    use crate::ends::count_calls::ENDS;

    #[tokio::test]
    async fn begins_anew_with_each() {
        let bench = Bench::new(guests::COUNT_CALLS, ENDS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 before");
        assert_eq!(bench.post("again").await.body["detail"], "0 before");
    }
}

pub(super) mod search_memory {
    use super::*;
    use crate::ends::search_memory::ENDS;

    #[tokio::test]
    async fn finds_nothing_of_an_earlier_call() {
        let bench = Bench::new(guests::SEARCH_MEMORY, ENDS);
        // The instances of a pool are used again.
        for call in 0..50 {
            let answer = bench.post(&format!("room {call}")).await;
            assert_eq!(answer.body["detail"], "0 bytes found");
        }
        bench.ends(ENDS).await;
    }
}

pub(super) mod read_settings {
    use super::*;
    use crate::ends::read_settings::ENDS;

    #[tokio::test]
    async fn sees_only_its_own() {
        let other = r#"settings = { secret = "of b" }"#;
        let host = Builder::new()
            .tenant("a", guests::READ_SETTINGS, r#"settings = { colour = "blue" }"#)
            .tenant("b", guests::READ_SETTINGS, other)
            .start();
        let answer = host.post("a", "room", "ann").await;
        answer.is_problem(ENDS.0, ENDS.1);
        assert_eq!(answer.body["detail"], r#"[("colour", "blue")]"#);
    }
}

pub(super) mod odd_settings {
    use super::*;
    use crate::ends::odd_settings::ENDS;

    #[tokio::test]
    async fn are_named_in_the_log_with_what_is_wrong() {
        let host = Builder::new()
            .tenant("t", guests::ODD_SETTINGS, r#"settings = { wait_ms = "soon" }"#)
            .start();
        let answer = host.post("t", "room", "ann").await;
        answer.is_problem(ENDS.0, ENDS.1);
        let log = host.log();
        let words = "as the setting `wait_ms`: invalid digit found in string";
        assert_eq!(log.matches(words).count(), 1, "{log}");
    }
}
