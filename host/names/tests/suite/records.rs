//! Whole rows, read and put.

use std::time::Duration;

use namelock_names::records::{Put, Record, Records, TOKEN_MAX};
use namelock_names::{
    Change, FencingToken, Lifetime, NamesConfig, NamesUrl, PastRequest, RequestKey, Save, SaveError, Update,
};

use crate::{Database, eventually, free, is_taken_by, save, update};

suite_of_one! {
    what_is_put_into_an_empty_database_is_read_the_same
    what_is_put_twice_is_there_once_and_a_newer_write_stays
    what_had_ended_stays_ended_and_held_though_the_time_is_behind
    the_next_epoch_is_greater_than_every_token_that_was_put
    nothing_is_put_where_the_key_of_a_request_is_used
    all_is_read_from_one_snapshot
    rows_are_removed_page_by_page_and_counted
    a_record_that_breaks_a_rule_is_refused
}

async fn records(url: &NamesUrl) -> Records {
    Records::open(url, &NamesConfig::default()).await.unwrap()
}

async fn read_all(url: &NamesUrl, tenant: &str) -> Vec<Record> {
    let mut source = records(url).await;
    source.begin().await.unwrap();
    let (mut all, mut after) = (Vec::<Record>::new(), String::new());
    loop {
        let page = source.read(tenant, &after).await.unwrap();
        let Some(last) = page.last() else {
            break;
        };
        after.clone_from(&last.registration.name);
        all.extend(page);
    }
    source.end().await.unwrap();
    all
}

fn key(key: &str) -> RequestKey {
    RequestKey::new("t", key, &[key.as_bytes()])
}

/// Names in every state that a row can be in.
async fn fill(db: &Database) {
    let held = Save {
        hold: Duration::from_secs(3600),
        request: Some(key("save a")),
        attributes: vec![("k".to_owned(), "v\u{0}\"ü".to_owned()), (String::new(), String::new())],
        ..save("a", "ann", 1)
    };
    db.names.save(held).await.unwrap();
    let changed = Update {
        request: Some(key("change a")),
        change: Change {
            lifetime: Some(Lifetime::Endless),
            ..Change::default()
        },
        ..update("a", 2)
    };
    db.names.update(changed).await.unwrap().unwrap();
    let freed = Save {
        hold: Duration::from_secs(3600),
        request: Some(key("save b")),
        ..save("b\u{0}\u{10ffff}", "bob", 3)
    };
    db.names.save(freed).await.unwrap();
    assert!(db.names.free(free("b\u{0}\u{10ffff}", 4)).await.unwrap());
    let short = Save {
        lifetime: Some(Duration::from_millis(1)),
        ..save("c", "eve", 5)
    };
    db.names.save(short).await.unwrap();
    db.until_ended("c").await;
    db.names.save(save("d", "dan", 6)).await.unwrap();
    for number in 0..1200 {
        let name = format!("many {number:04}");
        db.names.save(save(&name, "ann", 7)).await.unwrap();
    }
    let other = Save {
        tenant: "u".to_owned(),
        ..save("a", "zoe", 8)
    };
    db.names.save(other).await.unwrap();
}

/// Another empty database of the same kind.
async fn empty_like(db: &Database) -> Database {
    match &db.url {
        NamesUrl::Sqlite(_) => crate::sqlite().await,
        NamesUrl::Postgres(_) | NamesUrl::Several(_) => crate::postgres().await,
    }
}

async fn put_all(target: &mut Records, tenant: &str, all: &[Record]) -> Put {
    let mut sum = Put::default();
    for page in all.chunks(500) {
        let put = target.put(tenant, page).await.unwrap();
        sum.written += put.written;
        sum.left += put.left;
    }
    sum
}

async fn what_is_put_into_an_empty_database_is_read_the_same(db: Database) {
    fill(&db).await;
    let all = read_all(&db.url, "t").await;
    assert_eq!(all.len(), 1204);
    let ended: Vec<_> = all.iter().filter(|record| record.ended).collect();
    let names: Vec<_> = ended.iter().map(|record| record.registration.name.as_str()).collect();
    assert_eq!(names, ["b\u{0}\u{10ffff}", "c"]);
    let first = &all[0];
    assert_eq!(first.saved_by, Some(key("save a")));
    assert_eq!(first.changed_by, Some(key("change a")));
    assert_eq!((first.hold_ms, first.registration.expires_ms), (3_600_000, None));

    let other = empty_like(&db).await;
    let put = put_all(&mut records(&other.url).await, "t", &all).await;
    assert_eq!(put, Put { written: 1204, left: 0 });
    assert_eq!(read_all(&other.url, "t").await, all);
    assert_eq!(
        other.names.usage("t").await.unwrap(),
        db.names.usage("t").await.unwrap()
    );
    assert_eq!(other.names.usage("t").await.unwrap(), other.recount("t").await);
    assert_eq!(
        other.names.find("t", "a").await.unwrap(),
        db.names.find("t", "a").await.unwrap()
    );
    // A retry of a request is answered there as it would be here.
    for request in ["save a", "change a", "save b"] {
        let (here, there) = (
            db.names.find_request("t", key(request)),
            other.names.find_request("t", key(request)),
        );
        let here = here.await.unwrap();
        assert!(matches!(here, PastRequest::Replayed(_)), "{here:?}");
        assert_eq!(there.await.unwrap(), here);
    }
    // What was put is owned, held and fenced as before.
    is_taken_by(other.names.save(save("d", "eve", 9)).await, "dan");
    let held = other.names.save(save("b\u{0}\u{10ffff}", "eve", 9)).await;
    assert!(matches!(held, Err(SaveError::Held { .. })), "{held:?}");
    assert_eq!(other.names.save(save("c", "eve", 4)).await, Err(SaveError::LeaseLost));
    other.names.save(save("c", "zoe", 9)).await.unwrap();
}

async fn what_is_put_twice_is_there_once_and_a_newer_write_stays(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    db.names.save(save("b", "bob", 2)).await.unwrap();
    let backup = read_all(&db.url, "t").await;
    let mut target = records(&db.url).await;
    assert_eq!(put_all(&mut target, "t", &backup).await, Put { written: 0, left: 2 });
    assert_eq!(read_all(&db.url, "t").await, backup);
    // Freed and taken since, and changed under the same token.
    assert!(db.names.free(free("a", 3)).await.unwrap());
    db.names.save(save("a", "eve", 4)).await.unwrap();
    assert!(db.names.free(free("b", 2)).await.unwrap());
    let newer = read_all(&db.url, "t").await;
    assert_eq!(put_all(&mut target, "t", &backup).await, Put { written: 0, left: 2 });
    assert_eq!(read_all(&db.url, "t").await, newer);
    // A later backup over an earlier state.
    let other = empty_like(&db).await;
    let mut target = records(&other.url).await;
    assert_eq!(put_all(&mut target, "t", &backup).await.written, 2);
    assert_eq!(put_all(&mut target, "t", &newer).await, Put { written: 1, left: 1 });
    assert_eq!(other.names.find("t", "a").await.unwrap().unwrap().owner, "eve");
}

async fn what_had_ended_stays_ended_and_held_though_the_time_is_behind(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let mut all = read_all(&db.url, "t").await;
    let record = &mut all[0];
    // As if it came from a database whose time is a day ahead.
    let day = 24 * 3600 * 1000;
    record.registration.name = "b".to_owned();
    record.registration.created_ms += day;
    record.registration.expires_ms = record.registration.expires_ms.map(|at| at + day);
    record.ended = true;
    record.hold_ms = 3_600_000;
    records(&db.url).await.put("t", &all).await.unwrap();
    for names in [&db.names, &db.other] {
        assert_eq!(names.find("t", "b").await.unwrap(), None);
    }
    let held = db.names.save(save("b", "bob", 2)).await;
    assert!(matches!(held, Err(SaveError::Held { .. })), "{held:?}");
    assert_eq!(read_all(&db.url, "t").await[1], all[0]);
    let again = db.names.save(save("b", "ann", 2)).await.unwrap();
    assert!(again.expires_ms > Some(again.created_ms));
}

async fn the_next_epoch_is_greater_than_every_token_that_was_put(db: Database) {
    let first = db.names.begin_epoch("one").await.unwrap().epoch;
    db.names.check_epoch("one", first).await.unwrap();
    let mut target = records(&db.url).await;
    let reach = target.reach().await.unwrap().unwrap();
    assert!(reach.get() > first);
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let mut all = read_all(&db.url, "t").await;
    all[0].registration.name = "b".to_owned();
    all[0].registration.fencing_token = FencingToken::new(TOKEN_MAX);
    assert!(all[0].registration.fencing_token > reach);
    all[0].check(&NamesConfig::default()).unwrap();
    target.put("t", &all).await.unwrap();
    let next = db.names.begin_epoch("two").await.unwrap();
    assert!(next.epoch > TOKEN_MAX && next.is_first, "{next:?}");
    assert!(db.names.free(free("b", next.epoch)).await.unwrap());
}

async fn nothing_is_put_where_the_key_of_a_request_is_used(db: Database) {
    let with_key = Save {
        request: Some(key("k")),
        ..save("a", "ann", 1)
    };
    db.names.save(with_key).await.unwrap();
    let mut all = read_all(&db.url, "t").await;
    all.push(all[0].clone());
    all[0].registration.name = "b".to_owned();
    all[0].saved_by = None;
    all[1].registration.name = "c".to_owned();
    let refused = records(&db.url).await.put("t", &all).await;
    assert!(
        matches!(&refused, Err(SaveError::Invalid { reason }) if reason.contains("key of a request")),
        "{refused:?}"
    );
    assert_eq!(read_all(&db.url, "t").await.len(), 1);
}

async fn all_is_read_from_one_snapshot(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let mut source = records(&db.url).await;
    source.begin().await.unwrap();
    let before = source.read("t", "").await.unwrap();
    db.names.save(save("b", "bob", 2)).await.unwrap();
    assert!(db.names.free(free("a", 2)).await.unwrap());
    assert_eq!(source.read("t", "").await.unwrap(), before);
    source.end().await.unwrap();
    source.begin().await.unwrap();
    assert_eq!(source.read("t", "").await.unwrap().len(), 2);
}

async fn rows_are_removed_page_by_page_and_counted(db: Database) {
    fill(&db).await;
    let mut target = records(&db.url).await;
    let mut pages = Vec::new();
    loop {
        match target.remove("t").await.unwrap() {
            0 => break,
            removed => pages.push(removed),
        }
    }
    assert_eq!(pages, [1000, 204]);
    assert_eq!(target.usage("t").await.unwrap(), db.recount("t").await);
    assert_eq!(target.usage("t").await.unwrap().registrations, 0);
    eventually(async || db.names.find("u", "a").await.unwrap().is_some()).await;
}

async fn a_record_that_breaks_a_rule_is_refused(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let good = read_all(&db.url, "t").await.remove(0);
    let config = NamesConfig::default();
    good.check(&config).unwrap();
    let wrong: [fn(&mut Record); 8] = [
        |record| record.registration.name = String::new(),
        |record| record.registration.owner = "o".repeat(256),
        |record| record.registration.expires_ms = Some(record.registration.created_ms - 1),
        |record| record.registration.created_ms = u64::MAX,
        |record| record.hold_ms = u64::MAX,
        |record| record.registration.fencing_token = FencingToken::new(TOKEN_MAX + 1),
        |record| record.registration.attributes = vec![("k".repeat(70_000), String::new())],
        |record| {
            record.ended = true;
            record.registration.expires_ms = None;
        },
    ];
    for (index, spoil) in wrong.into_iter().enumerate() {
        let mut record = good.clone();
        spoil(&mut record);
        let refused = record.check(&config);
        assert!(
            matches!(refused, Err(SaveError::Invalid { .. })),
            "{index}: {refused:?}"
        );
    }
}
