//! Several names and several writes at once, and lists.

use namelock_test_artifacts::guests;
use serde_json::json;

use super::{Bench, check};
use crate::fixture::LONG_LEASES;

pub(super) mod acquire_all_wrongly {
    use super::*;
    use crate::ends::acquire_all_wrongly::ENDS;

    #[tokio::test]
    async fn is_told_what_is_wrong_and_gets_nothing() {
        let answer = Bench::new(guests::ACQUIRE_ALL_WRONGLY, ENDS).ends(ENDS).await;
        let detail = answer.body["detail"].as_str().unwrap();
        for part in [
            "none: no name was given",
            "doubled: ",
            r#"held: this call holds "room-0" already"#,
            "empty: ",
            "long: ",
            "too many: a call holds at most 8 leases at once",
            "got 7, in order: true",
        ] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
        assert!(detail.contains("room-1"), "the doubled name is told: {detail}");
    }
}

pub(super) mod apply_wrongly {
    use super::*;
    use crate::ends::apply_wrongly::ENDS;

    #[tokio::test]
    async fn is_told_what_is_wrong_and_writes_nothing() {
        let answer = Bench::new(guests::APPLY_WRONGLY, ENDS).ends(ENDS).await;
        let detail = answer.body["detail"].as_str().unwrap();
        for part in [
            "none: 1 to 8 writes are done together, and these are 0",
            "too many: 1 to 8 writes are done together, and these are 9",
            r#"doubled: the name "room-a" is written twice"#,
            "update of none: none of the writes was done",
            "free of none: none of the writes was done",
            "no lifetime: a lifetime is at least 1 ms",
            "taken too: ann has room-b",
            r#"["room-b"]"#,
        ] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
    }
}

pub(super) mod apply_for_no_end {
    use super::*;
    use crate::ends::apply_for_no_end::ENDS;

    // Shows P6: several writes at once count as many.
    #[tokio::test]
    async fn ends_at_the_writes_of_a_call() {
        let limits = r#"
            [limits]
            cpu_time = "30s"
            wall_time = "5m"
            writes = 5
        "#;
        let bench = Bench::with(guests::APPLY_FOR_NO_END, LONG_LEASES, limits);
        let answer = bench.post("room").await;
        check(&answer, ENDS);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the tenant is at its limits.writes; its handler says: "),
            "{detail}"
        );
        let names = bench.host.list("t", "").await.body["names"].clone();
        let names: Vec<_> = names
            .as_array()
            .unwrap()
            .iter()
            .map(|found| found["name"].clone())
            .collect();
        assert_eq!(names, ["room-0-a", "room-0-b", "room-1-a", "room-1-b"]);
        bench.has_no_lock().await;
    }

    #[tokio::test]
    async fn leaves_no_lock() {
        Bench::new(guests::APPLY_FOR_NO_END, ENDS).ends(ENDS).await;
    }
}

pub(super) mod list_names {
    use super::*;
    use crate::ends::list_names::ENDS;

    #[tokio::test]
    async fn sees_its_own_in_the_order_of_their_bytes() {
        let bench = Bench::new(guests::LIST_NAMES, ENDS);
        // The names that the other tenant has are none of its business.
        assert_eq!(bench.host.post("good", "a0", "ann").await.status, 201);
        let list = async |prefix: &str, owner: &str| {
            let answer = bench.host.post("t", prefix, owner).await;
            check(&answer, ENDS);
            answer.body["detail"].as_str().unwrap().to_owned()
        };
        assert_eq!(list("a", "anybody").await, "pages:");
        bench.ends(ENDS).await;
    }

    #[tokio::test]
    async fn goes_from_page_to_page() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.db");
        // A host whose tenant `t` registers, and another one on the same database whose tenant lists.
        let start = |guest: &str| {
            let builder = crate::fixture::Builder::new().names(&file);
            builder.tenant("t", guest, "").start()
        };
        let (saves, lists) = (start(guests::PLAIN), start(guests::LIST_NAMES));
        for (name, owner) in [
            ("b", "ann"),
            ("a2", "bob"),
            ("a10", "ann"),
            ("a\u{e9}", "ann"),
            ("a", "ann"),
            ("c", "eve"),
        ] {
            assert_eq!(saves.post("t", name, owner).await.status, 201);
        }
        let ended = json!({ "name": "a3", "owner": "ann" });
        assert_eq!(saves.post_json("t", &ended).await.status, 201);
        assert_eq!(saves.delete("t", "a3", "ann").await.status, 204);
        for (prefix, owner, expect) in [
            ("a", "anybody", "pages: a a10, a2 a\u{e9}"),
            ("a", "ann", "pages: a a10, a\u{e9}"),
            ("a1", "anybody", "pages: a10"),
            ("c", "ann", "pages:"),
        ] {
            let answer = lists.post("t", prefix, owner).await;
            check(&answer, ENDS);
            assert_eq!(answer.body["detail"], expect, "{prefix} of {owner}");
        }
    }
}

pub(super) mod list_wrongly {
    use super::*;
    use crate::ends::list_wrongly::ENDS;

    #[tokio::test]
    async fn is_told_what_is_wrong() {
        let answer = Bench::new(guests::LIST_WRONGLY, ENDS).ends(ENDS).await;
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("6 refused: a page has 1 to 1000 registrations, and not 0; "),
            "{detail}"
        );
    }
}

pub(super) mod make_up_names {
    use super::*;
    use crate::ends::make_up_names::ENDS;

    #[tokio::test]
    async fn makes_another_one_in_each_call() {
        let bench = Bench::new(guests::MAKE_UP_NAMES, ENDS);
        let first = bench.ends(ENDS).await;
        let second = bench.post("room").await;
        check(&second, ENDS);
        assert_ne!(first.body["name"], second.body["name"]);
        let location = first.headers["location"].to_str().unwrap();
        assert!(location.ends_with(first.body["name"].as_str().unwrap()), "{location}");
    }
}

pub(super) mod save_then_sleep {
    use super::*;
    use crate::ends::save_then_sleep::ENDS;

    #[tokio::test]
    async fn ends_at_the_wall_time() {
        let bench = Bench::new(guests::SAVE_THEN_SLEEP, ENDS);
        let body = json!({ "name": "room", "owner": "ann", "attributes": { "hold_ms": "200000" } });
        let answer = bench.host.post_json("t", &body).await;
        answer.is_problem(ENDS.0, ENDS.1);
        bench.has_no_lock().await;
    }
}
