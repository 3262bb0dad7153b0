//! What is saved, found and freed.

use std::sync::Arc;
use std::time::Duration;

use namelock_names::{LIFETIME_MAX, Save, SaveError};
use tokio::time::Instant;

use crate::{Database, free, is_taken_by, save};

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
