//! The numbers from which fencing tokens are counted.

use std::sync::Arc;

use namelock_names::EpochStanding;

use crate::{Database, save};

suite! {
    every_epoch_is_greater_than_all_before_it
    an_epoch_that_was_not_given_is_judged_by_database_time
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
