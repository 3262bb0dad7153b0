//! Lists of names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use namelock_names::{ListQuery, Names, NamesConfig, Page, Save, open};

use crate::{Database, free, save};

suite! {
    active_names_are_listed_in_the_order_of_their_bytes
    a_prefix_is_one_of_bytes
    names_of_one_owner_are_listed
    a_page_goes_on_behind_the_one_before_whatever_its_name_has_become
    a_page_with_many_rows_that_have_ended_is_shorter_and_goes_on
    a_page_ends_where_its_attributes_are_too_long
    a_limit_is_at_least_one_and_at_most_what_is_configured
    a_name_that_is_there_all_the_time_is_listed_once
}

fn query(prefix: &str, after: Option<&str>, limit: usize) -> ListQuery {
    ListQuery {
        tenant: "t".to_owned(),
        prefix: prefix.to_owned(),
        owner: None,
        after: after.map(str::to_owned),
        limit,
    }
}

fn of_owner(owner: &str, query: ListQuery) -> ListQuery {
    ListQuery {
        owner: Some(owner.to_owned()),
        ..query
    }
}

fn names_of(page: &Page) -> Vec<&str> {
    page.registrations
        .iter()
        .map(|registration| registration.name.as_str())
        .collect()
}

/// Reads all pages, and returns the names and how many pages there were.
async fn all_pages(names: &Arc<dyn Names>, mut query: ListQuery) -> (Vec<String>, usize) {
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let page = names.list(query.clone()).await.unwrap();
        pages += 1;
        listed.extend(names_of(&page).into_iter().map(str::to_owned));
        assert!(page.next > query.after || page.next.is_none(), "it goes on");
        query.after = page.next;
        if query.after.is_none() {
            return (listed, pages);
        }
    }
}

async fn active_names_are_listed_in_the_order_of_their_bytes(db: Database) {
    assert_eq!(db.names.list(query("", None, 10)).await.unwrap(), Page::default());
    let mut names = [
        "b",
        "a",
        "a\0",
        "a\0b",
        "a ",
        "A",
        "é",
        "e\u{301}",
        "\u{10ffff}",
        "ab",
        "%",
        "_",
        "\u{ffff}",
    ];
    for name in names {
        db.names.save(save(name, "ann", 1)).await.unwrap();
    }
    for ended in ["aa", "freed"] {
        db.names.save(save(ended, "ann", 1)).await.unwrap();
        assert!(db.names.free(free(ended, 2)).await.unwrap());
    }
    let mut short = save("short", "ann", 1);
    short.lifetime = Some(Duration::from_millis(1));
    db.names.save(short).await.unwrap();
    db.until_ended("short").await;
    let mut other = save("of another", "ann", 1);
    other.tenant = "u".to_owned();
    db.names.save(other).await.unwrap();
    names.sort_unstable();
    for names_ in [&db.names, &db.other] {
        let page = names_.list(query("", None, 100)).await.unwrap();
        assert_eq!((names_of(&page), &page.next), (names.to_vec(), &None));
        for registration in &page.registrations {
            let found = names_.find("t", &registration.name).await.unwrap();
            assert_eq!(found.as_ref(), Some(registration));
        }
    }
    for limit in 1..16 {
        for owner in [false, true] {
            let all = query("", None, limit);
            let all = if owner { of_owner("ann", all) } else { all };
            let (listed, pages) = all_pages(&db.other, all).await;
            assert_eq!(listed, names, "{limit}");
            assert_eq!(pages, names.len().div_ceil(limit), "{limit}");
        }
    }
}

async fn a_prefix_is_one_of_bytes(db: Database) {
    for name in [
        "a",
        "ab",
        "ab\0",
        "abc",
        "ab\u{10ffff}",
        "ab\u{10ffff}x",
        "ac",
        "Ab",
        "ü",
        "\u{10ffff}",
        "\u{10ffff}z",
        "%",
    ] {
        db.names.save(save(name, "ann", 1)).await.unwrap();
    }
    let check = async |prefix: &str, after: Option<&str>, expect: &[&str]| {
        for of in [query(prefix, after, 100), of_owner("ann", query(prefix, after, 100))] {
            let page = db.names.list(of).await.unwrap();
            assert_eq!(names_of(&page), expect, "{prefix:?} {after:?}");
            assert_eq!(page.next, None);
        }
    };
    let ab = ["ab", "ab\0", "abc", "ab\u{10ffff}", "ab\u{10ffff}x"];
    check("ab", None, &ab).await;
    check("ab", Some("ab"), &ab[1..]).await;
    check("ab", Some("abb"), &ab[2..]).await;
    check("ab", Some("a"), &ab).await;
    check("ab", Some("b"), &[]).await;
    check("ab\u{10ffff}", None, &ab[3..]).await;
    check("\u{10ffff}", None, &["\u{10ffff}", "\u{10ffff}z"]).await;
    check("%", None, &["%"]).await;
    check("_", None, &[]).await;
    check(&"x".repeat(10_000), Some(&"y".repeat(10_000)), &[]).await;
}

async fn names_of_one_owner_are_listed(db: Database) {
    for (number, owner) in (0..60).zip(["ann", "bob", "annB", "ann\0"].into_iter().cycle()) {
        db.names.save(save(&format!("{number:02}"), owner, 1)).await.unwrap();
    }
    let expect = |offset: usize| {
        (0..15)
            .map(move |number| format!("{:02}", number * 4 + offset))
            .collect::<Vec<_>>()
    };
    for (offset, owner) in (0..).zip(["ann", "bob", "annB", "ann\0"]) {
        for limit in [1, 7, 15, 100] {
            let (listed, _) = all_pages(&db.other, of_owner(owner, query("", None, limit))).await;
            assert_eq!(listed, expect(offset), "{owner:?}");
        }
    }
    let page = db.names.list(of_owner("ann", query("1", None, 100))).await.unwrap();
    assert_eq!(names_of(&page), ["12", "16"]);
    assert_eq!(
        db.names.list(of_owner("eve", query("", None, 100))).await.unwrap(),
        Page::default()
    );
}

async fn a_page_goes_on_behind_the_one_before_whatever_its_name_has_become(db: Database) {
    for name in ["a", "b", "c", "d"] {
        db.names.save(save(name, "ann", 1)).await.unwrap();
    }
    let page = db.names.list(query("", None, 2)).await.unwrap();
    assert_eq!((names_of(&page), page.next.as_deref()), (vec!["a", "b"], Some("b")));
    assert!(db.names.free(free("b", 2)).await.unwrap());
    db.names.save(save("bb", "ann", 1)).await.unwrap();
    let page = db.other.list(query("", page.next.as_deref(), 2)).await.unwrap();
    assert_eq!((names_of(&page), page.next.as_deref()), (vec!["bb", "c"], Some("c")));
    let page = db.other.list(query("", page.next.as_deref(), 2)).await.unwrap();
    assert_eq!((names_of(&page), page.next.as_deref()), (vec!["d"], None));
}

async fn a_page_with_many_rows_that_have_ended_is_shorter_and_goes_on(db: Database) {
    for number in 0..50 {
        let name = format!("{number:02}");
        db.names.save(save(&name, "ann", 1)).await.unwrap();
        if number % 10 != 9 {
            assert!(db.names.free(free(&name, 2)).await.unwrap());
        }
    }
    let config = NamesConfig {
        page_rows_max: 7,
        ..NamesConfig::default()
    };
    let names = open(&db.url, config).await.unwrap();
    for owner in [false, true] {
        let of = |query| if owner { of_owner("ann", query) } else { query };
        let page = names.list(of(query("", None, 5))).await.unwrap();
        assert_eq!((names_of(&page), page.next.as_deref()), (vec![], Some("06")));
        let page = names.list(of(query("", Some("06"), 5))).await.unwrap();
        assert_eq!((names_of(&page), page.next.as_deref()), (vec!["09"], Some("13")));
        let (listed, pages) = all_pages(&names, of(query("", None, 5))).await;
        assert_eq!((listed.join(" ").as_str(), pages), ("09 19 29 39 49", 8));
        let (listed, pages) = all_pages(&names, of(query("1", None, 1))).await;
        assert_eq!((listed.join(" ").as_str(), pages), ("19", 2));
    }
}

async fn a_page_ends_where_its_attributes_are_too_long(db: Database) {
    for name in ["a", "b", "c", "d", "e"] {
        let mut wish = save(name, "ann", 1);
        wish.attributes = vec![("k".to_owned(), "v".repeat(100))];
        db.names.save(wish).await.unwrap();
    }
    let config = |page_bytes_max| NamesConfig {
        page_bytes_max,
        ..NamesConfig::default()
    };
    for (bytes, expect) in [(0, 1), (109, 1), (110, 2), (219, 2), (220, 3), (10_000, 5)] {
        let names = open(&db.url, config(bytes)).await.unwrap();
        for of in [query("", None, 100), of_owner("ann", query("", None, 100))] {
            let page = names.list(of.clone()).await.unwrap();
            assert_eq!(page.registrations.len(), expect, "{bytes}");
            let (listed, _) = all_pages(&names, of).await;
            assert_eq!(listed.join(""), "abcde", "{bytes}");
        }
    }
}

async fn a_limit_is_at_least_one_and_at_most_what_is_configured(db: Database) {
    for number in 0..12 {
        db.names.save(save(&format!("{number:02}"), "ann", 1)).await.unwrap();
    }
    let config = NamesConfig {
        page_max: 10,
        ..NamesConfig::default()
    };
    let names = open(&db.url, config).await.unwrap();
    for (limit, expect) in [(0, 1), (1, 1), (10, 10), (11, 10), (usize::MAX, 10)] {
        let page = names.list(query("", None, limit)).await.unwrap();
        assert_eq!(page.registrations.len(), expect, "{limit}");
        assert!(page.next.is_some());
    }
}

async fn a_name_that_is_there_all_the_time_is_listed_once(db: Database) {
    let stays: BTreeSet<String> = (0..100).map(|number| format!("{number:02} stays")).collect();
    for name in &stays {
        db.names.save(save(name, "ann", 1)).await.unwrap();
    }
    let (stop, token) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(2)));
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let names = Arc::clone([&db.names, &db.other][writer % 2]);
            let (stop, token) = (Arc::clone(&stop), Arc::clone(&token));
            tokio::spawn(async move {
                let mut step = writer;
                while !stop.load(Relaxed) {
                    step += 7;
                    let (name, token) = (format!("{:02} comes", step % 100), token.fetch_add(1, Relaxed));
                    let _ = names
                        .save(Save {
                            ..save(&name, "ann", token)
                        })
                        .await;
                    let _ = names.free(free(&name, token)).await;
                }
            })
        })
        .collect();
    for round in 0..20 {
        let of = query("", None, 1 + round % 9);
        let of = if round % 2 == 0 { of } else { of_owner("ann", of) };
        let (listed, _) = all_pages(&db.other, of).await;
        assert!(
            listed.windows(2).all(|pair| pair[0] < pair[1]),
            "in order, and each once"
        );
        let listed: BTreeSet<_> = listed.into_iter().filter(|name| name.ends_with("stays")).collect();
        assert_eq!(listed, stays);
    }
    stop.store(true, Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}
