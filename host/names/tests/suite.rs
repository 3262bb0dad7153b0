//! What every names database does: the same tests for each implementation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use namelock_names::{
    EpochStanding, FencingToken, Free, LIFETIME_MAX, Names, NamesConfig, NamesUrl, Quota, QuotaKind, Registration,
    Save, SaveError, Usage, open,
};
use namelock_test_servers::Postgres;
use tokio::time::Instant;

/// A database for one test, opened twice, as by two processes.
struct Database {
    names: Arc<dyn Names>,
    other: Arc<dyn Names>,
    url: NamesUrl,
    _server: Box<dyn std::any::Any>,
}

async fn sqlite() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("names.db").display());
    Database::at(&url, folder).await
}

async fn postgres() -> Database {
    let server = Postgres::start();
    Database::at(&server.url(), server).await
}

impl Database {
    async fn at(url: &str, server: impl std::any::Any) -> Self {
        let url: NamesUrl = url.parse().unwrap();
        Self {
            names: open(&url, NamesConfig::default()).await.unwrap(),
            other: open(&url, NamesConfig::default()).await.unwrap(),
            url,
            _server: Box::new(server),
        }
    }

    /// Opens it once more, with a process that deletes rows as soon as their registrations have ended.
    async fn without_retention(&self) -> Arc<dyn Names> {
        let config = NamesConfig {
            retention: Duration::ZERO,
            ..NamesConfig::default()
        };
        open(&self.url, config).await.unwrap()
    }

    /// Counts the rows of a tenant, as an operator could.
    async fn recount(&self, tenant: &str) -> Usage {
        let (registrations, bytes): (i64, i64) = match &self.url {
            NamesUrl::Sqlite(path) => {
                let sql = "SELECT count(*), coalesce(sum(128 + octet_length(tenant) + octet_length(name)
                    + octet_length(owner) + octet_length(attributes)), 0) FROM registrations WHERE tenant = ?";
                let raw = rusqlite::Connection::open(path).unwrap();
                raw.query_row(sql, [tenant], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap()
            }
            NamesUrl::Postgres(url) => {
                let sql = "SELECT count(*), coalesce(sum(128 + octet_length(tenant) + octet_length(name)
                    + octet_length(owner) + octet_length(attributes)), 0)
                    FROM namelock_registrations WHERE tenant = $1";
                let (raw, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let row = raw.query_one(sql, &[&tenant]).await.unwrap();
                (row.get(0), row.get(1))
            }
        };
        Usage {
            registrations: registrations.try_into().unwrap(),
            bytes: bytes.try_into().unwrap(),
        }
    }
}

fn save(name: &str, owner: &str, fencing_token: u64) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: owner.to_owned(),
        lifetime: Some(Duration::from_secs(60)),
        attributes: Vec::new(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: Instant::now() + Duration::from_secs(10),
        quota: Quota::default(),
    }
}

fn free(name: &str, fencing_token: u64) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: Instant::now() + Duration::from_secs(10),
    }
}

#[track_caller]
fn is_taken_by(result: Result<Registration, SaveError>, owner: &str) {
    match result {
        Err(SaveError::Taken(registration)) => assert_eq!(registration.owner, owner),
        other => panic!("{other:?}"),
    }
}

async fn a_saved_registration_is_found_by_every_process(db: Database) {
    let mut wish = save("a", "ann", 7);
    wish.attributes = vec![
        ("b".into(), "2".into()),
        ("a".into(), "ü\0\"".into()),
        ("b".into(), "3".into()),
    ];
    let saved = db.names.save(wish.clone()).await.unwrap();
    assert_eq!(
        (saved.name.as_str(), saved.owner.as_str(), saved.fencing_token.get()),
        ("a", "ann", 7)
    );
    assert_eq!(saved.attributes, wish.attributes);
    assert_eq!(saved.expires_ms, Some(saved.created_ms + 60_000));
    for names in [&db.names, &db.other] {
        assert_eq!(names.find("t", "a").await.unwrap(), Some(saved.clone()));
    }
}

async fn a_taken_name_is_refused_with_its_registration(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    is_taken_by(db.other.save(save("a", "bob", 2)).await, "ann");
    // To its own owner too, and with any token.
    is_taken_by(db.names.save(save("a", "ann", u64::MAX >> 1)).await, "ann");
    is_taken_by(db.names.save(save("a", "bob", 0)).await, "ann");
}

async fn a_freed_name_can_be_taken_again(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    assert!(db.other.free(free("a", 2)).await.unwrap());
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
    assert!(!db.names.free(free("a", 3)).await.unwrap());
    assert!(!db.names.free(free("never", 1)).await.unwrap());
    db.names.save(save("a", "bob", 3)).await.unwrap();
    is_taken_by(db.other.save(save("a", "eve", 4)).await, "bob");
}

// Shows P1: a holder whose lease has been superseded can neither take the name nor free it.
async fn an_older_fencing_token_is_refused_even_when_the_name_is_free(db: Database) {
    db.names.save(save("a", "ann", 5)).await.unwrap();
    assert_eq!(db.names.free(free("a", 4)).await, Err(SaveError::LeaseLost));
    assert!(db.names.free(free("a", 6)).await.unwrap());
    assert_eq!(db.other.save(save("a", "bob", 5)).await, Err(SaveError::LeaseLost));
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
    // One lease may both free and save.
    db.other.save(save("a", "bob", 6)).await.unwrap();
}

async fn a_name_is_free_at_the_instant_of_its_end(db: Database) {
    let mut short = save("a", "ann", 1);
    short.lifetime = Some(Duration::from_millis(40));
    let first = db.names.save(short).await.unwrap();
    let second = loop {
        match db.other.save(save("a", "bob", 2)).await {
            Ok(saved) => break saved,
            Err(error) => is_taken_by(Err(error), "ann"),
        }
    };
    assert!(second.created_ms >= first.expires_ms.unwrap());
    assert_eq!(db.names.find("t", "a").await.unwrap(), Some(second));
}

async fn a_registration_without_end_lasts_until_it_is_freed(db: Database) {
    let mut endless = save("a", "ann", 1);
    endless.lifetime = None;
    let saved = db.names.save(endless).await.unwrap();
    assert_eq!(saved.expires_ms, None);
    is_taken_by(db.names.save(save("a", "bob", 2)).await, "ann");
    assert!(db.names.free(free("a", 2)).await.unwrap());
    db.names.save(save("a", "bob", 2)).await.unwrap();
}

// Shows P5: a write under a lease that has ended is refused.
async fn an_ended_lease_writes_nothing(db: Database) {
    let mut late = save("a", "ann", 1);
    late.deadline = Instant::now();
    assert_eq!(db.names.save(late).await, Err(SaveError::LeaseLost));
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let mut late = free("a", 2);
    late.deadline = Instant::now();
    assert_eq!(db.names.free(late).await, Err(SaveError::LeaseLost));
    assert!(db.names.find("t", "a").await.unwrap().is_some());
}

async fn names_are_compared_byte_by_byte_and_separately_for_each_tenant(db: Database) {
    let names = [
        "a",
        "A",
        "a ",
        "\u{e9}",
        "e\u{301}",
        "a\0b",
        "a\0",
        "%",
        "'; DROP TABLE registrations; --",
    ];
    for (number, name) in names.iter().enumerate() {
        db.names.save(save(name, &number.to_string(), 1)).await.unwrap();
    }
    for (number, name) in names.iter().enumerate() {
        let found = db.other.find("t", name).await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.owner), (*name, number.to_string()));
    }
    assert_eq!(db.names.find("u", "a").await.unwrap(), None);
    let mut other = save("a", "of u", 1);
    other.tenant = "u".to_owned();
    db.names.save(other).await.unwrap();
    assert_eq!(db.names.find("t", "a").await.unwrap().unwrap().owner, "0");
}

async fn a_write_that_breaks_a_rule_is_refused(db: Database) {
    let wish = |change: fn(&mut Save)| {
        let mut wish = save("a", "ann", 1);
        change(&mut wish);
        wish
    };
    let bad = [
        (wish(|wish| wish.owner.clear()), "owner"),
        (wish(|wish| wish.owner = "x".repeat(256)), "owner"),
        (wish(|wish| wish.name.clear()), "name"),
        (wish(|wish| wish.name = "x".repeat(256)), "name"),
        (wish(|wish| wish.lifetime = Some(Duration::ZERO)), "lifetime"),
        (wish(|wish| wish.lifetime = Some(Duration::MAX)), "lifetime"),
        (
            wish(|wish| wish.attributes = vec![Default::default(); 1025]),
            "1024 attributes",
        ),
        (
            wish(|wish| wish.attributes = vec![("k".into(), "v".repeat(65536))]),
            "65536 bytes",
        ),
    ];
    for (wish, expect) in bad {
        match db.names.save(wish).await {
            Err(SaveError::Invalid { reason }) => assert!(reason.contains(expect), "{reason}"),
            other => panic!("{expect}: {other:?}"),
        }
    }
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
}

async fn values_at_their_limits_are_saved(db: Database) {
    let mut wish = save(&"ü".repeat(127), &"o".repeat(255), i64::MAX as u64);
    wish.name.push('x');
    wish.lifetime = Some(LIFETIME_MAX);
    wish.attributes = vec![("k".repeat(32), "v".repeat(32)); 1024];
    let saved = db.names.save(wish.clone()).await.unwrap();
    assert_eq!(
        (saved.fencing_token, &saved.attributes),
        (wish.fencing_token, &wish.attributes)
    );
    assert_eq!(db.other.find("t", &wish.name).await.unwrap(), Some(saved));
    let mut late = save("a", "ann", u64::MAX);
    late.lifetime = None;
    let refused = db.names.save(late).await;
    assert!(
        matches!(&refused, Err(SaveError::Invalid { reason }) if reason.contains("fencing token")),
        "{refused:?}"
    );
}

// Shows P1: 32 callers in two processes save one name at once; one gets it, and the others are told who.
async fn of_many_concurrent_saves_exactly_one_gets_the_name(db: Database) {
    for round in 0..50 {
        let tasks: Vec<_> = (0..32)
            .map(|number: u64| {
                let names = Arc::clone(if number.is_multiple_of(2) { &db.names } else { &db.other });
                tokio::spawn(async move {
                    names
                        .save(save(&format!("room {round}"), &number.to_string(), number))
                        .await
                })
            })
            .collect();
        let mut owners = Vec::new();
        let mut refused = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(saved) => owners.push(saved.owner),
                Err(SaveError::Taken(active)) => refused.push(active.owner.clone()),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(owners.len(), 1, "round {round}");
        assert!(refused.iter().all(|owner| *owner == owners[0]));
    }
}

async fn closing_completes_queued_writes_and_refuses_later_ones(db: Database) {
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let names = Arc::clone(&db.names);
            tokio::spawn(async move { names.save(save(&format!("room {number}"), "ann", 1)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    db.names.close().await;
    assert!(matches!(
        db.names.save(save("late", "ann", 1)).await,
        Err(SaveError::Unavailable { .. })
    ));
    assert!(db.names.find("t", "room 0").await.is_err());
    assert!(db.names.ready().await.is_err());
    db.other.ready().await.unwrap();
    for (number, task) in tasks.into_iter().enumerate() {
        let saved = task.await.unwrap();
        let found = db.other.find("t", &format!("room {number}")).await.unwrap();
        assert_eq!(saved.ok(), found);
    }
}

/// Tries until something is so.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let tries = async { while !is_so().await {} };
    tokio::time::timeout(Duration::from_secs(60), tries).await.unwrap();
}

fn quota(registrations: u64, bytes: u64) -> Quota {
    Quota { registrations, bytes }
}

// Shows P6: beyond the quota nothing is written.
async fn a_tenant_at_its_quota_of_registrations_saves_no_other_name(db: Database) {
    let wish = |name: &str, token| Save {
        quota: quota(2, 1 << 30),
        ..save(name, "ann", token)
    };
    db.names.save(wish("a", 1)).await.unwrap();
    db.other.save(wish("b", 1)).await.unwrap();
    let usage = db.names.usage("t").await.unwrap();
    assert_eq!((usage.registrations, usage), (2, db.recount("t").await));
    for names in [&db.names, &db.other] {
        let refused = names.save(wish("c", 1)).await;
        assert_eq!(refused, Err(SaveError::Quota(QuotaKind::Registrations)));
        assert_eq!(names.find("t", "c").await.unwrap(), None);
        assert_eq!(names.usage("t").await.unwrap(), usage);
    }
    // What else is in the way of a write is said first.
    is_taken_by(db.names.save(wish("a", 2)).await, "ann");
    // The row of a freed name counts, so it can be saved again, and no other name can.
    assert!(db.names.free(free("a", 3)).await.unwrap());
    assert_eq!(db.names.usage("t").await.unwrap(), usage);
    assert_eq!(
        db.names.save(wish("c", 3)).await,
        Err(SaveError::Quota(QuotaKind::Registrations))
    );
    assert_eq!(db.names.save(wish("a", 2)).await, Err(SaveError::LeaseLost));
    db.names.save(wish("a", 3)).await.unwrap();
}

// Shows P6: beyond the quota nothing is written.
async fn a_tenant_at_its_quota_of_bytes_saves_nothing_longer(db: Database) {
    // Of a row: 128, the tenant `t`, a name of one byte, the owner `ann`, and the attributes `[]` or `[["k","vv"]]`.
    let (short, long) = (128 + 1 + 1 + 3 + 2, 128 + 1 + 1 + 3 + 12);
    let wish = |name: &str, token, attributes: &[(&str, &str)], bytes| Save {
        quota: quota(100, bytes),
        attributes: attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..save(name, "ann", token)
    };
    let kv = &[("k", "vv")];
    let refused = Err(SaveError::Quota(QuotaKind::Bytes));
    assert_eq!(db.names.save(wish("a", 1, &[], short - 1)).await, refused);
    db.names.save(wish("a", 1, &[], short)).await.unwrap();
    assert_eq!(db.names.save(wish("b", 1, kv, short + long - 1)).await, refused);
    db.other.save(wish("b", 1, kv, short + long)).await.unwrap();
    assert_eq!(db.names.usage("t").await.unwrap().bytes, short + long);
    // Only the difference to the row that is replaced counts.
    assert!(db.names.free(free("a", 2)).await.unwrap());
    assert_eq!(db.names.save(wish("a", 2, kv, 2 * long - 1)).await, refused);
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
    db.names.save(wish("a", 2, kv, 2 * long)).await.unwrap();
    // A row that does not grow is written under any quota.
    assert!(db.names.free(free("a", 3)).await.unwrap());
    db.other.save(wish("a", 3, &[], 0)).await.unwrap();
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    assert_eq!(db.names.usage("t").await.unwrap().bytes, short + long);
}

async fn tenants_do_not_share_a_quota(db: Database) {
    for tenant in ["t", "u", "v"] {
        let wish = |name: &str| Save {
            tenant: tenant.to_owned(),
            quota: quota(1, 1 << 30),
            ..save(name, "ann", 1)
        };
        db.names.save(wish("a")).await.unwrap();
        assert_eq!(
            db.other.save(wish("b")).await,
            Err(SaveError::Quota(QuotaKind::Registrations))
        );
        assert_eq!(db.names.usage(tenant).await.unwrap().registrations, 1);
    }
    assert_eq!(db.names.usage("nobody").await.unwrap(), Usage::default());
}

async fn freed_names_make_room_once_their_retention_is_over(db: Database) {
    let wish = |name: &str| Save {
        quota: quota(1, 1 << 30),
        ..save(name, "ann", 1)
    };
    db.names.save(wish("a")).await.unwrap();
    assert!(db.names.free(free("a", 1)).await.unwrap());
    assert_eq!(
        db.names.save(wish("b")).await,
        Err(SaveError::Quota(QuotaKind::Registrations))
    );
    let purging = db.without_retention().await;
    eventually(async || purging.save(wish("b")).await.is_ok()).await;
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    assert_eq!(db.names.usage("t").await.unwrap().registrations, 1);
}

// Whatever three processes save, free and purge at once.
async fn usage_is_what_the_rows_add_up_to(db: Database) {
    const TENANTS: [&str; 3] = ["t", "u", "v"];
    let purging = db.without_retention().await;
    let token = Arc::new(AtomicU64::new(1));
    let tasks: Vec<_> = (0..9_usize)
        .map(|task| {
            let names = Arc::clone([&db.names, &db.other, &purging][task % 3]);
            let token = Arc::clone(&token);
            tokio::spawn(async move {
                for step in 0..40 {
                    // Any mixture does, as long as the tasks meet at the names.
                    let pick = step * 31 + task * 17 + step * step * task;
                    let (tenant, name) = (TENANTS[pick % 3], format!("n\0ü{}", pick % 7));
                    let token = token.fetch_add(1, Relaxed);
                    if step % 2 == 0 {
                        let wish = Save {
                            tenant: tenant.to_owned(),
                            attributes: vec![("k".to_owned(), "\"ü".repeat(pick % 50))],
                            quota: quota(6, 2000),
                            ..save(&name, &"o".repeat(1 + pick % 9), token)
                        };
                        let _ = names.save(wish).await;
                    } else {
                        let wish = Free {
                            tenant: tenant.to_owned(),
                            ..free(&name, token)
                        };
                        let _ = names.free(wish).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for tenant in TENANTS {
        for names in [&db.names, &db.other] {
            // A purge may come between the two counts.
            eventually(async || names.usage(tenant).await.unwrap() == db.recount(tenant).await).await;
        }
    }
}

async fn every_epoch_is_greater_than_all_before_it(db: Database) {
    let known = |is_first| EpochStanding::Known { is_first };
    let before = db.names.save(save("a", "ann", 1)).await.unwrap().created_ms;
    let first = db.names.begin_epoch("s1:11211").await.unwrap();
    assert!(first.is_first && first.epoch >= before * 1_000_000);
    assert_eq!(
        db.other.check_epoch("s1:11211", first.epoch).await.unwrap(),
        known(true)
    );
    let mut last = first.epoch;
    for round in 0..6 {
        let (names, server) = [(&db.other, "s1:11211"), (&db.names, "s2:11211")][round % 2];
        let begun = names.begin_epoch(server).await.unwrap();
        assert!(begun.epoch >= last + (1 << 46), "{begun:?}");
        assert_eq!(begun.is_first, round == 1);
        last = begun.epoch;
    }
    // One that was given but never reached the server does no harm.
    assert_eq!(
        db.names.check_epoch("s1:11211", first.epoch).await.unwrap(),
        known(true)
    );
    let mut begun = Vec::new();
    let tasks: Vec<_> = (0..16_usize)
        .map(|number| {
            let names = Arc::clone([&db.names, &db.other][number % 2]);
            tokio::spawn(async move { names.begin_epoch(&format!("s{}:11211", number % 3)).await })
        })
        .collect();
    for task in tasks {
        begun.push(task.await.unwrap().unwrap().epoch);
    }
    begun.sort_unstable();
    assert!(
        begun[0] > last && begun.windows(2).all(|pair| pair[0] < pair[1]),
        "{begun:?}"
    );
}

async fn an_epoch_that_was_not_given_is_judged_by_database_time(db: Database) {
    let known = EpochStanding::Known { is_first: false };
    let now = db.names.save(save("a", "ann", 1)).await.unwrap().created_ms * 1_000_000;
    let (second, year) = (1_000_000_000, 365 * 86_400 * 1_000_000_000);
    // By a host of an older version, whose clock is right, or ten years ahead.
    assert_eq!(
        db.names.check_epoch("s1:11211", now + 20 * second).await.unwrap(),
        known
    );
    for epoch in [now + 10 * year, u64::MAX] {
        let standing = db.names.check_epoch("s1:11211", epoch).await.unwrap();
        assert!(
            matches!(standing, EpochStanding::Future { ahead } if ahead.as_secs() > 300_000_000),
            "{standing:?}"
        );
    }
    assert_eq!(
        db.other.check_epoch("s1:11211", now).await.unwrap(),
        EpochStanding::Stale
    );
    assert_eq!(
        db.other.check_epoch("s1:11211", now + 20 * second).await.unwrap(),
        known
    );
    let begun = db.other.begin_epoch("s1:11211").await.unwrap();
    assert!(!begun.is_first && begun.epoch > now + 20 * second, "{begun:?}");
    // Given here, it is known however far it is ahead; and once it was seen, none before it is.
    assert_eq!(db.names.check_epoch("s1:11211", begun.epoch).await.unwrap(), known);
    assert_eq!(
        db.names.check_epoch("s1:11211", now + 20 * second).await.unwrap(),
        EpochStanding::Stale
    );
}

macro_rules! suite {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::postgres().await).await;
            })*
        }
    };
}

suite! {
    a_saved_registration_is_found_by_every_process
    a_taken_name_is_refused_with_its_registration
    a_freed_name_can_be_taken_again
    an_older_fencing_token_is_refused_even_when_the_name_is_free
    a_name_is_free_at_the_instant_of_its_end
    a_registration_without_end_lasts_until_it_is_freed
    an_ended_lease_writes_nothing
    names_are_compared_byte_by_byte_and_separately_for_each_tenant
    a_write_that_breaks_a_rule_is_refused
    values_at_their_limits_are_saved
    of_many_concurrent_saves_exactly_one_gets_the_name
    closing_completes_queued_writes_and_refuses_later_ones
    a_tenant_at_its_quota_of_registrations_saves_no_other_name
    a_tenant_at_its_quota_of_bytes_saves_nothing_longer
    tenants_do_not_share_a_quota
    freed_names_make_room_once_their_retention_is_over
    usage_is_what_the_rows_add_up_to
    every_epoch_is_greater_than_all_before_it
    an_epoch_that_was_not_given_is_judged_by_database_time
}
