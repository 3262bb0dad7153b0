//! Requests that are repeated.

use std::sync::Arc;
use std::time::Duration;

use namelock_names::{Change, FencingToken, PastRequest, Registration, RequestKey, Save, SaveError, Update};

use crate::{Database, eventually, free, save, update};

suite! {
    a_repeated_save_finds_the_registration_of_the_first
    a_key_is_remembered_until_the_row_is_saved_again_or_purged
    a_change_does_not_make_the_save_forgotten
    a_repeated_update_finds_what_it_has_changed
    a_key_that_saves_and_changes_is_refused
    a_write_that_fails_leaves_its_key_unused
    of_many_concurrent_requests_with_one_key_one_saves_a_name
    keys_are_of_their_tenants
}

/// A request with a key that asks for something.
fn request(key: &str, asks: &str) -> Option<RequestKey> {
    Some(RequestKey::new("t", key, &[asks.as_bytes()]))
}

fn save_by(key: &str, name: &str, token: u64) -> Save {
    Save {
        request: request(key, name),
        ..save(name, "ann", token)
    }
}

async fn find(db: &Database, key: &str, asks: &str) -> PastRequest {
    let [found, other] = [
        db.names.find_request("t", request(key, asks).unwrap()).await.unwrap(),
        db.other.find_request("t", request(key, asks).unwrap()).await.unwrap(),
    ];
    assert_eq!(found, other);
    found
}

fn replayed(registration: &Registration) -> PastRequest {
    PastRequest::Replayed(Box::new(registration.clone()))
}

async fn a_repeated_save_finds_the_registration_of_the_first(db: Database) {
    assert_eq!(find(&db, "k", "a").await, PastRequest::Unknown);
    let saved = db.names.save(save_by("k", "a", 1)).await.unwrap();
    assert_eq!(find(&db, "k", "a").await, replayed(&saved));
    assert_eq!(find(&db, "k", "b").await, PastRequest::KeyReused);
    let again = Err(SaveError::Replayed(Box::new(saved.clone())));
    for names in [&db.names, &db.other] {
        assert_eq!(names.save(save_by("k", "a", 2)).await, again);
        // A handler that makes names up asks for another one the second time; the request is the same.
        let mut made_up = save_by("k", "a", 2);
        made_up.name = "a2".to_owned();
        assert_eq!(names.save(made_up).await, again);
        assert_eq!(names.save(save_by("k", "b", 2)).await, Err(SaveError::KeyReused));
    }
    for name in ["a2", "b"] {
        assert_eq!(db.names.find("t", name).await.unwrap(), None);
    }
    assert_eq!(db.names.usage("t").await.unwrap().registrations, 1);
}

async fn a_key_is_remembered_until_the_row_is_saved_again_or_purged(db: Database) {
    let saved = db.names.save(save_by("k", "a", 1)).await.unwrap();
    assert!(db.other.free(free("a", 2)).await.unwrap());
    let PastRequest::Replayed(ended) = find(&db, "k", "a").await else {
        panic!("it is forgotten")
    };
    assert_eq!((ended.created_ms, &ended.owner), (saved.created_ms, &saved.owner));
    assert!(ended.expires_ms < saved.expires_ms, "it is as it is now");
    let again = db.names.save(save_by("k", "a", 3)).await;
    assert_eq!(again, Err(SaveError::Replayed(ended)));
    // With a request of its own, without one, and with one under the lease that has freed it.
    db.names.save(save_by("l", "a", 3)).await.unwrap();
    assert_eq!(find(&db, "k", "a").await, PastRequest::Unknown);
    assert!(db.names.free(free("a", 4)).await.unwrap());
    db.other.save(save("a", "bob", 4)).await.unwrap();
    assert_eq!(find(&db, "l", "a").await, PastRequest::Unknown);
    assert!(db.names.free(free("a", 4)).await.unwrap());
    db.other.save(save_by("m", "a", 4)).await.unwrap();
    assert!(db.names.free(free("a", 4)).await.unwrap());
    db.other.save(save("a", "bob", 4)).await.unwrap();
    assert_eq!(find(&db, "m", "a").await, PastRequest::Unknown);
    // A key that is forgotten blocks nothing.
    for (key, name) in [("k", "b"), ("l", "c"), ("m", "d")] {
        db.names.save(save_by(key, name, 1)).await.unwrap();
    }
    let purging = db.without_retention().await;
    assert!(db.names.free(free("b", 2)).await.unwrap());
    eventually(async || {
        // SQLite purges when it writes.
        let _ = purging.save(save("x", "ann", 1)).await;
        let found = db.names.find_request("t", request("k", "b").unwrap()).await;
        found.unwrap() == PastRequest::Unknown
    })
    .await;
}

async fn a_change_does_not_make_the_save_forgotten(db: Database) {
    db.names.save(save_by("k", "a", 1)).await.unwrap();
    let mut wish = update("a", 2);
    wish.change.owner = Some("bob".to_owned());
    wish.request = request("l", "to bob");
    let changed = db.names.update(wish).await.unwrap().unwrap();
    assert_eq!(find(&db, "k", "a").await, replayed(&changed));
    assert_eq!(find(&db, "l", "to bob").await, replayed(&changed));
    let changed = db.other.update(update("a", 3)).await.unwrap().unwrap();
    assert_eq!(find(&db, "k", "a").await, replayed(&changed));
    assert_eq!(find(&db, "l", "to bob").await, replayed(&changed));
    // The last change is remembered, and the save.
    let mut wish = update("a", 4);
    wish.request = request("m", "nothing");
    let changed = db.other.update(wish).await.unwrap().unwrap();
    assert_eq!(find(&db, "k", "a").await, replayed(&changed));
    assert_eq!(find(&db, "l", "to bob").await, PastRequest::Unknown);
    assert_eq!(find(&db, "m", "nothing").await, replayed(&changed));
}

async fn a_repeated_update_finds_what_it_has_changed(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    db.names.save(save("b", "ann", 1)).await.unwrap();
    let wish = |name: &str, token, asks: &str| Update {
        change: Change {
            owner: Some("bob".to_owned()),
            ..Change::default()
        },
        request: request("k", asks),
        ..update(name, token)
    };
    let changed = db.names.update(wish("a", 2, "x")).await.unwrap().unwrap();
    let again = Err(SaveError::Replayed(Box::new(changed.clone())));
    assert_eq!(db.other.update(wish("a", 3, "x")).await, again);
    assert_eq!(db.other.update(wish("b", 3, "x")).await, again);
    assert_eq!(db.other.update(wish("b", 3, "y")).await, Err(SaveError::KeyReused));
    assert_eq!(db.names.find("t", "b").await.unwrap().unwrap().owner, "ann");
    assert!(db.names.free(free("a", 4)).await.unwrap());
    assert!(matches!(find(&db, "k", "x").await, PastRequest::Replayed(_)));
    db.names.save(save("a", "eve", 5)).await.unwrap();
    assert_eq!(find(&db, "k", "x").await, PastRequest::Unknown);
}

async fn a_key_that_saves_and_changes_is_refused(db: Database) {
    let saved = db.names.save(save_by("k", "a", 1)).await.unwrap();
    db.names.save(save("b", "ann", 1)).await.unwrap();
    for name in ["a", "b"] {
        let mut wish = update(name, 2);
        wish.request = request("k", "change");
        assert_eq!(db.other.update(wish.clone()).await, Err(SaveError::KeyReused));
        wish.request = request("k", "a");
        assert_eq!(
            db.other.update(wish).await,
            Err(SaveError::Replayed(Box::new(saved.clone())))
        );
    }
    let mut wish = update("b", 2);
    wish.request = request("l", "b");
    db.names.update(wish).await.unwrap().unwrap();
    assert_eq!(db.names.save(save_by("l", "c", 1)).await, Err(SaveError::KeyReused));
    assert!(db.names.free(free("b", 3)).await.unwrap());
    assert_eq!(db.names.save(save_by("l", "c", 1)).await, Err(SaveError::KeyReused));
    let again = db.names.save(save_by("l", "b", 3)).await;
    assert!(matches!(again, Err(SaveError::Replayed(_))), "{again:?}");
}

async fn a_write_that_fails_leaves_its_key_unused(db: Database) {
    db.names.save(save("a", "ann", 5)).await.unwrap();
    let taken = db.names.save(save_by("k", "a", 6)).await;
    assert!(matches!(taken, Err(SaveError::Taken(_))), "{taken:?}");
    let mut wish = update("a", 4);
    wish.request = request("k", "a");
    assert_eq!(db.names.update(wish.clone()).await, Err(SaveError::LeaseLost));
    wish.name = "none".to_owned();
    assert_eq!(db.names.update(wish).await, Ok(None));
    assert_eq!(find(&db, "k", "a").await, PastRequest::Unknown);
    db.names.save(save_by("k", "b", 1)).await.unwrap();
}

async fn of_many_concurrent_requests_with_one_key_one_saves_a_name(db: Database) {
    for round in 0..20 {
        let tasks: Vec<_> = (0..16_u64)
            .map(|number| {
                let names = Arc::clone(if number.is_multiple_of(2) { &db.names } else { &db.other });
                // Each asks for a name of its own, as a handler that makes names up does; some for one name.
                let name = format!("{round} {}", number % 11);
                let wish = Save {
                    request: request(&round.to_string(), if number < 12 { "same" } else { "other" }),
                    fencing_token: FencingToken::new(number),
                    ..save(&name, "ann", 0)
                };
                tokio::spawn(async move { names.save(wish).await })
            })
            .collect();
        let (mut saved, mut replayed, mut reused) = (Vec::new(), Vec::new(), 0);
        for task in tasks {
            match task.await.unwrap() {
                Ok(registration) => saved.push(registration),
                Err(SaveError::Replayed(registration)) => replayed.push(*registration),
                Err(SaveError::KeyReused) => reused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(saved.len(), 1, "round {round}");
        assert!(replayed.iter().all(|registration| *registration == saved[0]));
        assert_eq!(reused + replayed.len(), 15);
        assert_eq!(reused, if replayed.len() == 11 { 4 } else { 12 });
    }
    assert_eq!(db.names.usage("t").await.unwrap().registrations, 20);
}

async fn keys_are_of_their_tenants(db: Database) {
    let wish = |tenant: &str| Save {
        tenant: tenant.to_owned(),
        request: Some(RequestKey::new(tenant, "k", &[b"a"])),
        lifetime: Some(Duration::from_secs(60)),
        ..save("a", "ann", 1)
    };
    let of_t = db.names.save(wish("t")).await.unwrap();
    let of_u = db.names.save(wish("u")).await.unwrap();
    assert_eq!(find(&db, "k", "a").await, replayed(&of_t));
    let request = RequestKey::new("u", "k", &[b"a"]);
    assert_eq!(db.other.find_request("u", request).await.unwrap(), replayed(&of_u));
    assert_eq!(db.other.find_request("t", request).await.unwrap(), PastRequest::Unknown);
}
