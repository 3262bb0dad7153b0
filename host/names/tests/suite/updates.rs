//! Registrations that are prolonged, handed over and changed.

use std::sync::Arc;
use std::time::Duration;

use namelock_names::{Change, LIFETIME_MAX, Lifetime, QuotaKind, SaveError, Update};
use tokio::time::Instant;

use crate::{Database, free, quota, save, update};

suite! {
    an_update_changes_what_it_names_and_nothing_else
    a_registration_is_prolonged_from_now_on_or_without_end
    only_an_active_registration_is_updated
    an_older_fencing_token_updates_nothing
    an_update_under_an_ended_lease_changes_nothing
    an_update_that_breaks_a_rule_is_refused
    a_row_that_grows_needs_room_in_the_quota
    of_many_concurrent_updates_each_is_whole
}

fn change(name: &str, token: u64, change: Change) -> Update {
    Update {
        change,
        ..update(name, token)
    }
}

async fn an_update_changes_what_it_names_and_nothing_else(db: Database) {
    let mut wish = save("a", "ann", 1);
    wish.attributes = vec![("k".to_owned(), "v".to_owned())];
    let mut expected = db.names.save(wish).await.unwrap();
    let attributes = vec![("ü\0".to_owned(), String::new()), ("a".to_owned(), "\"".to_owned())];
    let changes = [
        Change::default(),
        Change {
            owner: Some("bob".to_owned()),
            ..Change::default()
        },
        Change {
            attributes: Some(attributes.clone()),
            ..Change::default()
        },
        Change {
            lifetime: Some(Lifetime::Endless),
            ..Change::default()
        },
        Change {
            owner: Some("eve".to_owned()),
            lifetime: Some(Lifetime::Endless),
            attributes: Some(Vec::new()),
        },
    ];
    for (token, wish) in (2..).zip(changes) {
        expected.fencing_token = namelock_names::FencingToken::new(token);
        if let Some(owner) = &wish.owner {
            expected.owner.clone_from(owner);
        }
        if let Some(attributes) = &wish.attributes {
            expected.attributes.clone_from(attributes);
        }
        if wish.lifetime.is_some() {
            expected.expires_ms = None;
        }
        let names = if token % 2 == 0 { &db.names } else { &db.other };
        assert_eq!(
            names.update(change("a", token, wish)).await.unwrap().as_ref(),
            Some(&expected)
        );
        assert_eq!(db.names.find("t", "a").await.unwrap().as_ref(), Some(&expected));
        assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    }
}

async fn a_registration_is_prolonged_from_now_on_or_without_end(db: Database) {
    let saved = db.names.save(save("a", "ann", 1)).await.unwrap();
    let lasts = |token, lifetime| {
        let lifetime = Some(lifetime);
        change(
            "a",
            token,
            Change {
                lifetime,
                ..Change::default()
            },
        )
    };
    let hour = Duration::from_secs(3600);
    let longer = db
        .names
        .update(lasts(2, Lifetime::FromNow(hour)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(longer.created_ms, saved.created_ms);
    assert!(longer.expires_ms.unwrap() >= saved.created_ms + 3_600_000, "{longer:?}");
    let endless = db.other.update(lasts(3, Lifetime::Endless)).await.unwrap().unwrap();
    assert_eq!(endless.expires_ms, None);
    // It may be shortened too, and then it ends.
    let short = Lifetime::FromNow(Duration::from_millis(1));
    let short = db.names.update(lasts(4, short)).await.unwrap().unwrap();
    db.until_ended("a").await;
    let next = db.names.save(save("a", "bob", 5)).await.unwrap();
    assert!(next.created_ms >= short.expires_ms.unwrap());
    let longest = db
        .names
        .update(lasts(6, Lifetime::FromNow(LIFETIME_MAX)))
        .await
        .unwrap();
    assert!(longest.unwrap().expires_ms.is_some());
}

async fn only_an_active_registration_is_updated(db: Database) {
    assert_eq!(db.names.update(update("a", 1)).await, Ok(None));
    db.names.save(save("a", "ann", 1)).await.unwrap();
    assert!(db.names.free(free("a", 1)).await.unwrap());
    for token in [0, 1, 2] {
        assert_eq!(db.other.update(update("a", token)).await, Ok(None));
    }
    let mut short = save("b", "ann", 1);
    short.lifetime = Some(Duration::from_millis(1));
    db.names.save(short).await.unwrap();
    db.until_ended("b").await;
    let endless = Change {
        lifetime: Some(Lifetime::Endless),
        ..Change::default()
    };
    assert_eq!(db.other.update(change("b", 2, endless)).await, Ok(None));
    assert_eq!(db.names.find("t", "b").await.unwrap(), None, "it does not come back");
    let mut of_another = update("a", 9);
    of_another.tenant = "u".to_owned();
    assert_eq!(db.names.update(of_another).await, Ok(None));
}

// Shows P1: a holder whose lease has been superseded changes nothing, and who comes after an update is fenced by it.
async fn an_older_fencing_token_updates_nothing(db: Database) {
    db.names.save(save("a", "ann", 5)).await.unwrap();
    assert_eq!(db.names.update(update("a", 4)).await, Err(SaveError::LeaseLost));
    db.names.update(update("a", 5)).await.unwrap().unwrap();
    db.names.update(update("a", 7)).await.unwrap().unwrap();
    assert_eq!(db.other.update(update("a", 6)).await, Err(SaveError::LeaseLost));
    assert_eq!(db.other.free(free("a", 6)).await, Err(SaveError::LeaseLost));
    assert!(db.other.free(free("a", 7)).await.unwrap());
    assert_eq!(db.other.save(save("a", "bob", 6)).await, Err(SaveError::LeaseLost));
}

// Shows P5: a change under a lease that has ended is refused.
async fn an_update_under_an_ended_lease_changes_nothing(db: Database) {
    let saved = db.names.save(save("a", "ann", 1)).await.unwrap();
    let mut late = update("a", 2);
    late.deadline = Instant::now();
    late.change.owner = Some("bob".to_owned());
    assert_eq!(db.names.update(late).await, Err(SaveError::LeaseLost));
    assert_eq!(db.names.find("t", "a").await.unwrap(), Some(saved));
}

async fn an_update_that_breaks_a_rule_is_refused(db: Database) {
    let saved = db.names.save(save("a", "ann", 1)).await.unwrap();
    let wish = |wish: fn(&mut Change)| {
        let mut change = Change::default();
        wish(&mut change);
        change
    };
    let lasts = |lifetime| Change {
        lifetime: Some(Lifetime::FromNow(lifetime)),
        ..Change::default()
    };
    let bad = [
        (wish(|wish| wish.owner = Some(String::new())), "owner"),
        (wish(|wish| wish.owner = Some("x".repeat(256))), "owner"),
        (lasts(Duration::ZERO), "lifetime"),
        (lasts(Duration::MAX), "lifetime"),
        (
            wish(|wish| wish.attributes = Some(vec![Default::default(); 1025])),
            "1024",
        ),
        (
            wish(|wish| wish.attributes = Some(vec![("k".into(), "v".repeat(65536))])),
            "65536 bytes",
        ),
    ];
    for (wish, expect) in bad {
        match db.names.update(change("a", 2, wish)).await {
            Err(SaveError::Invalid { reason }) => assert!(reason.contains(expect), "{reason}"),
            other => panic!("{expect}: {other:?}"),
        }
    }
    let refused = db.names.update(update("a", u64::MAX)).await;
    assert!(matches!(&refused, Err(SaveError::Invalid { .. })), "{refused:?}");
    assert_eq!(db.names.find("t", "a").await.unwrap(), Some(saved));
}

// Shows P6: beyond the quota nothing is written.
async fn a_row_that_grows_needs_room_in_the_quota(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let row = db.names.usage("t").await.unwrap().bytes;
    let wish = |token, owner: &str, attributes: Option<&str>, bytes| {
        let attributes = attributes.map(|value| vec![("k".to_owned(), value.to_owned())]);
        Update {
            change: Change {
                owner: Some(owner.to_owned()),
                attributes,
                ..Change::default()
            },
            quota: quota(1, bytes),
            ..update("a", token)
        }
    };
    let refused = Err(SaveError::Quota(QuotaKind::Bytes));
    assert_eq!(db.names.update(wish(2, "anna", None, row)).await, refused);
    db.other.update(wish(2, "anna", None, row + 1)).await.unwrap().unwrap();
    assert_eq!(db.other.update(wish(3, "anna", Some("v"), row + 9)).await, refused);
    db.names
        .update(wish(3, "anna", Some("v"), row + 10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(db.names.usage("t").await.unwrap().bytes, row + 10);
    // One that does not grow is written under any quota.
    db.names.update(wish(4, "bobb", Some("w"), 0)).await.unwrap().unwrap();
    db.names.update(wish(5, "bo", None, 0)).await.unwrap().unwrap();
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
}

async fn of_many_concurrent_updates_each_is_whole(db: Database) {
    db.names.save(save("a", "0", 0)).await.unwrap();
    let tasks: Vec<_> = (1..64_u64)
        .map(|token| {
            let names = Arc::clone(if token % 2 == 0 { &db.names } else { &db.other });
            let wish = Change {
                owner: Some(token.to_string()),
                attributes: Some(vec![("token".to_owned(), token.to_string())]),
                ..Change::default()
            };
            tokio::spawn(async move { names.update(change("a", token, wish)).await })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            Ok(Some(_)) | Err(SaveError::LeaseLost) => {}
            other => panic!("{other:?}"),
        }
    }
    let found = db.names.find("t", "a").await.unwrap().unwrap();
    assert_eq!((found.owner.as_str(), found.fencing_token.get()), ("63", 63));
    assert_eq!(found.attributes, [("token".to_owned(), "63".to_owned())]);
}
