//! What a guest reaches for that it is not given, and what one call could learn of another.

use namelock_test_artifacts::guests;

use super::{Bench, Ends};
use crate::fixture::Builder;

pub(super) mod no_export {
    use super::*;

    pub(crate) const ENDS: Ends = (503, "tenant_unavailable");

    #[tokio::test]
    async fn is_not_loaded() {
        Bench::new(guests::NO_EXPORT).ends(ENDS).await;
    }
}

pub(super) mod wants_sockets {
    use super::*;

    pub(crate) const ENDS: Ends = (503, "tenant_unavailable");

    #[tokio::test]
    async fn is_not_loaded_and_the_log_names_what_it_wants() {
        let bench = Bench::new(guests::WANTS_SOCKETS);
        bench.ends(ENDS).await;
        assert!(
            bench.host.log().contains("wasi:sockets/tcp@0.2"),
            "{}",
            bench.host.log()
        );
    }
}

pub(super) mod open_files {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn finds_none() {
        let bench = Bench::new(guests::OPEN_FILES);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 worked");
    }
}

pub(super) mod read_environment {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn finds_nothing() {
        let bench = Bench::new(guests::READ_ENVIRONMENT);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 and 0");
    }
}

pub(super) mod read_stdin {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn is_at_its_end() {
        let bench = Bench::new(guests::READ_STDIN);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 bytes");
    }
}

pub(super) mod measure_time {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn sees_whole_milliseconds() {
        let bench = Bench::new(guests::MEASURE_TIME);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "1000000 ns");
    }
}

pub(super) mod count_calls {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn begins_anew_with_each() {
        let bench = Bench::new(guests::COUNT_CALLS);
        let answer = bench.ends(ENDS).await;
        assert_eq!(answer.body["detail"], "0 before");
        assert_eq!(bench.post("again").await.body["detail"], "0 before");
    }
}

pub(super) mod search_memory {
    use super::*;

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn finds_nothing_of_an_earlier_call() {
        let bench = Bench::new(guests::SEARCH_MEMORY);
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

    pub(crate) const ENDS: Ends = (422, "name_invalid");

    #[tokio::test]
    async fn sees_only_its_own() {
        let other = "[settings]\nsecret = \"of b\"\n";
        let host = Builder::new()
            .tenant("a", guests::READ_SETTINGS, "[settings]\ncolour = \"blue\"\n")
            .tenant("b", guests::READ_SETTINGS, other)
            .start();
        let answer = host.post("a", "room", "ann").await;
        answer.is_problem(ENDS.0, ENDS.1);
        assert_eq!(answer.body["detail"], r#"[("colour", "blue")]"#);
    }
}
