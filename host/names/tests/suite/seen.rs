//! Writes that were decided on what another lease has written since, and what lasts until a write is decided.

use std::sync::Arc;

use namelock_names::{ApplyError, FencingToken, Free, Keep, SaveError, Seen, Update, WriteOne};

use crate::{Database, free, save, update};

suite! {
    what_another_lease_has_written_since_it_was_read_is_not_overwritten
    what_a_lease_has_written_itself_it_may_write_again
    of_several_writes_one_that_is_outdated_refuses_all
    what_a_write_keeps_is_given_back_before_it_is_answered
}

fn registered(token: u64) -> Seen {
    Seen::Registered(FencingToken::new(token))
}

fn update_of(seen: Seen, token: u64) -> Update {
    Update {
        seen,
        ..update("a", token)
    }
}

fn free_of(seen: Seen, token: u64) -> Free {
    Free {
        seen,
        ..free("a", token)
    }
}

// Shows P1: the holder of a name decides on the registration that there is when it writes, whoever else writes late.
async fn what_another_lease_has_written_since_it_was_read_is_not_overwritten(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    // The holder of lease 3 has read the registration of lease 1 when the write of lease 2 comes.
    let handed = db.other.update(update("a", 2)).await.unwrap();
    for seen in [registered(1), Seen::Free] {
        let refused = db.names.update(update_of(seen, 3)).await;
        assert_eq!(refused, Err(SaveError::LeaseLost), "{seen:?}");
        assert_eq!(
            db.names.free(free_of(seen, 3)).await,
            Err(SaveError::LeaseLost),
            "{seen:?}"
        );
    }
    assert_eq!(db.names.find("t", "a").await.unwrap(), handed);
    // Whoever reads it again may.
    assert!(db.names.update(update_of(registered(2), 3)).await.unwrap().is_some());
    assert_eq!(
        db.names.free(free_of(registered(2), 4)).await,
        Err(SaveError::LeaseLost)
    );
    assert!(db.names.free(free_of(registered(3), 4)).await.unwrap());
    // There is nothing that could be overwritten.
    assert_eq!(db.names.update(update_of(registered(3), 5)).await, Ok(None));
    assert_eq!(db.names.free(free_of(Seen::Free, 5)).await, Ok(false));
}

async fn what_a_lease_has_written_itself_it_may_write_again(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    // The first of the two may have been done without an answer.
    for _ in 0..2 {
        assert!(db.names.update(update_of(registered(1), 2)).await.unwrap().is_some());
    }
    assert!(db.names.free(free_of(registered(1), 2)).await.unwrap());
}

async fn of_several_writes_one_that_is_outdated_refuses_all(db: Database) {
    for name in ["a", "b"] {
        db.names.save(save(name, "ann", 1)).await.unwrap();
    }
    db.other.update(update("a", 2)).await.unwrap();
    let both = |seen| vec![WriteOne::Free(free("b", 3)), WriteOne::Update(update_of(seen, 3))];
    let refused = db.names.apply("t", both(registered(1))).await;
    let error = SaveError::LeaseLost;
    assert_eq!(refused, Err(ApplyError::Write { index: 1, error }));
    assert!(db.names.find("t", "b").await.unwrap().is_some());
    db.names.apply("t", both(registered(2))).await.unwrap();
    assert_eq!(db.names.find("t", "b").await.unwrap(), None);
}

async fn what_a_write_keeps_is_given_back_before_it_is_answered(db: Database) {
    let thing = Arc::new(());
    let keep = || {
        let mut keep = Keep::default();
        keep.add(Arc::clone(&thing));
        keep
    };
    for token in 1..50 {
        let mut wish = save("a", "ann", token);
        wish.keep = keep();
        db.names.save(wish).await.unwrap();
        assert_eq!(Arc::strong_count(&thing), 1, "after the save {token}");
        let mut wish = free("a", token);
        wish.keep = keep();
        let writes = vec![WriteOne::Free(wish)];
        db.names.apply("t", writes).await.unwrap();
        assert_eq!(Arc::strong_count(&thing), 1, "after the free {token}");
    }
}
