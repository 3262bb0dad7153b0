//! Names that are held for their last owner.

use std::time::Duration;

use namelock_names::{Change, NamesConfig, Save, SaveError, Update, open};

use crate::{Database, eventually, free, is_taken_by, save, update};

suite! {
    a_freed_name_is_held_for_its_last_owner
    a_name_that_ended_by_itself_is_held
    the_hold_is_over_when_its_time_has_passed
    a_name_that_was_handed_over_is_held_for_whoever_had_it_last
    without_a_hold_a_name_is_free_at_once
    a_hold_is_no_longer_than_it_may_be
    a_row_is_kept_until_its_hold_is_over
}

const HOLD: Duration = Duration::from_secs(3600);

fn held(name: &str, owner: &str, token: u64) -> Save {
    Save {
        hold: HOLD,
        ..save(name, owner, token)
    }
}

/// Checks that the name is refused because it is held, and returns for how long.
#[track_caller]
fn is_held<T: std::fmt::Debug>(result: Result<T, SaveError>) -> Duration {
    match result {
        Err(SaveError::Held { retry_after, .. }) => {
            assert!(retry_after <= HOLD && !retry_after.is_zero(), "{retry_after:?}");
            retry_after
        }
        other => panic!("{other:?}"),
    }
}

async fn a_freed_name_is_held_for_its_last_owner(db: Database) {
    db.names.save(held("a", "ann", 1)).await.unwrap();
    is_taken_by(db.other.save(save("a", "bob", 2)).await, "ann");
    assert!(db.names.free(free("a", 2)).await.unwrap());
    for names in [&db.names, &db.other] {
        let left = is_held(names.save(save("a", "bob", 3)).await);
        assert!(left > HOLD - Duration::from_secs(60), "{left:?}");
        is_held(names.save(held("a", "anna", 3)).await);
    }
    assert_eq!(db.names.find("t", "a").await.unwrap(), None);
    // A newer lease has freed it: that is said first.
    assert_eq!(db.names.save(save("a", "bob", 1)).await, Err(SaveError::LeaseLost));
    // Its last owner takes it without a hold: from then on there is none.
    db.other.save(save("a", "ann", 3)).await.unwrap();
    assert!(db.names.free(free("a", 4)).await.unwrap());
    db.names.save(save("a", "bob", 5)).await.unwrap();
}

async fn a_name_that_ended_by_itself_is_held(db: Database) {
    let mut short = held("a", "ann", 1);
    short.lifetime = Some(Duration::from_millis(1));
    db.names.save(short).await.unwrap();
    db.until_ended("a").await;
    is_held(db.other.save(save("a", "bob", 2)).await);
    db.names.save(held("a", "ann", 2)).await.unwrap();
}

async fn the_hold_is_over_when_its_time_has_passed(db: Database) {
    let mut wish = held("a", "ann", 1);
    wish.hold = Duration::from_millis(300);
    db.names.save(wish).await.unwrap();
    assert!(db.names.free(free("a", 2)).await.unwrap());
    let next = loop {
        match db.other.save(save("a", "bob", 3)).await {
            Ok(saved) => break saved,
            Err(SaveError::Held { retry_after, .. }) => assert!(retry_after <= Duration::from_millis(300)),
            Err(error) => panic!("{error}"),
        }
    };
    let ended = next.created_ms;
    assert_eq!(db.names.find("t", "a").await.unwrap().unwrap().created_ms, ended);
}

async fn a_name_that_was_handed_over_is_held_for_whoever_had_it_last(db: Database) {
    db.names.save(held("a", "ann", 1)).await.unwrap();
    let hand_over = Update {
        change: Change {
            owner: Some("bob".to_owned()),
            ..Change::default()
        },
        ..update("a", 2)
    };
    db.names.update(hand_over).await.unwrap().unwrap();
    assert!(db.other.free(free("a", 3)).await.unwrap());
    is_held(db.names.save(save("a", "ann", 4)).await);
    db.names.save(save("a", "bob", 4)).await.unwrap();
}

async fn without_a_hold_a_name_is_free_at_once(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    assert!(db.names.free(free("a", 1)).await.unwrap());
    db.names.save(held("a", "bob", 1)).await.unwrap();
    assert!(db.names.free(free("a", 1)).await.unwrap());
    is_held(db.names.save(held("a", "ann", 1)).await);
}

async fn a_hold_is_no_longer_than_it_may_be(db: Database) {
    let mut wish = held("a", "ann", 1);
    wish.hold = NamesConfig::default().hold_max + Duration::from_millis(1);
    match db.names.save(wish.clone()).await {
        Err(SaveError::Invalid { reason }) => assert!(reason.contains("names.hold_max"), "{reason}"),
        other => panic!("{other:?}"),
    }
    wish.hold = NamesConfig::default().hold_max;
    db.names.save(wish).await.unwrap();
}

// Also in a process that keeps no other row; and a row that is not held is purged beside those that are.
async fn a_row_is_kept_until_its_hold_is_over(db: Database) {
    let config = NamesConfig {
        retention: Duration::ZERO,
        ..NamesConfig::default()
    };
    for name in ["a", "b", "c"] {
        db.names.save(held(name, "ann", 1)).await.unwrap();
        assert!(db.names.free(free(name, 2)).await.unwrap());
    }
    db.names.save(save("plain", "ann", 1)).await.unwrap();
    assert!(db.names.free(free("plain", 2)).await.unwrap());
    let mut short = held("short", "ann", 1);
    short.hold = Duration::from_millis(1);
    db.names.save(short).await.unwrap();
    assert!(db.names.free(free("short", 2)).await.unwrap());
    let purging = open(&db.url, config).await.unwrap();
    eventually(async || {
        // SQLite purges when it writes.
        let _ = purging.free(free("none", 1)).await;
        db.recount("t").await.registrations == 3
    })
    .await;
    for name in ["a", "b", "c"] {
        is_held(purging.save(save(name, "bob", 3)).await);
    }
}
