//! Several writes as one.

use std::sync::Arc;
use std::time::Duration;

use namelock_names::{
    ApplyError, Change, FencingToken, Lifetime, Names, NamesConfig, PastRequest, QuotaKind, Registration, RequestKey,
    Save, SaveError, Update, WriteOne, open,
};
use tokio::time::Instant;

use crate::{Database, eventually, free, quota, save, update};

suite! {
    all_writes_are_done_and_answered_in_the_order_given
    two_names_swap_their_owners
    a_name_is_renamed
    none_is_done_where_one_is_refused
    a_name_without_a_registration_is_neither_changed_nor_freed
    the_first_lease_that_ends_is_said
    writes_that_break_a_rule_are_refused
    the_quota_counts_the_sum
    a_repeated_request_finds_what_it_has_done
    transactions_in_any_order_wait_for_each_other_and_are_whole
    one_that_is_under_way_with_a_single_write_is_whole
}

fn saves(name: &str, owner: &str, token: u64) -> WriteOne {
    WriteOne::Save(save(name, owner, token))
}

fn frees(name: &str, token: u64) -> WriteOne {
    WriteOne::Free(free(name, token))
}

fn hand_over(name: &str, owner: &str, token: u64) -> Update {
    Update {
        change: Change {
            owner: Some(owner.to_owned()),
            ..Change::default()
        },
        ..update(name, token)
    }
}

fn hands_over(name: &str, owner: &str, token: u64) -> WriteOne {
    WriteOne::Update(hand_over(name, owner, token))
}

async fn owner(names: &Arc<dyn Names>, name: &str) -> Option<String> {
    names.find("t", name).await.unwrap().map(|found| found.owner)
}

async fn owners(db: &Database, names: &[&str]) -> Vec<Option<String>> {
    let mut owners = Vec::new();
    for name in names {
        owners.push(owner(&db.other, name).await);
    }
    owners
}

fn refused(index: usize, error: SaveError) -> Result<Vec<Option<Registration>>, ApplyError> {
    Err(ApplyError::Write { index, error })
}

async fn all_writes_are_done_and_answered_in_the_order_given(db: Database) {
    db.names.save(save("b", "ann", 1)).await.unwrap();
    db.names.save(save("c", "ann", 1)).await.unwrap();
    let mut held = save("d", "dan", 2);
    held.hold = Duration::from_secs(60);
    held.attributes = vec![("k".to_owned(), "v".to_owned())];
    let mut wish = update("c", 3);
    wish.change.lifetime = Some(Lifetime::Endless);
    let writes = vec![
        WriteOne::Save(held.clone()),
        frees("b", 2),
        WriteOne::Update(wish),
        saves("a", "eve", 1),
    ];
    let done = db.names.apply("t", writes).await.unwrap();
    assert_eq!(done.len(), 4);
    let saved = done[0].clone().unwrap();
    assert_eq!((saved.owner.as_str(), &saved.attributes), ("dan", &held.attributes));
    assert_eq!(done[1], None);
    assert_eq!(done[2].as_ref().unwrap().expires_ms, None);
    for (result, name) in done.iter().zip(["d", "b", "c", "a"]) {
        assert_eq!(&db.other.find("t", name).await.unwrap(), result, "{name}");
    }
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    // What was saved with others is held like what was saved alone.
    db.names.apply("t", vec![frees("d", 3)]).await.unwrap();
    let taken = db.other.apply("t", vec![saves("d", "bob", 4)]).await;
    assert!(
        matches!(
            taken,
            Err(ApplyError::Write {
                index: 0,
                error: SaveError::Held { .. }
            })
        ),
        "{taken:?}"
    );
}

async fn two_names_swap_their_owners(db: Database) {
    let first = db.names.save(save("a", "ann", 1)).await.unwrap();
    db.names.save(save("b", "bob", 1)).await.unwrap();
    let done = db
        .names
        .apply("t", vec![hands_over("b", "ann", 2), hands_over("a", "bob", 2)])
        .await;
    let done = done.unwrap();
    let swapped = done[1].clone().unwrap();
    assert_eq!((swapped.owner.as_str(), swapped.created_ms), ("bob", first.created_ms));
    assert_eq!(
        owners(&db, &["a", "b"]).await,
        [Some("bob".to_owned()), Some("ann".to_owned())]
    );
}

async fn a_name_is_renamed(db: Database) {
    let mut held = save("old", "ann", 1);
    held.hold = Duration::from_secs(60);
    db.names.save(held).await.unwrap();
    let renames = |token| vec![frees("old", token), saves("new", "ann", token)];
    db.names.apply("t", renames(2)).await.unwrap();
    assert_eq!(owners(&db, &["old", "new"]).await, [None, Some("ann".to_owned())]);
    // Again, now that it is.
    let again = db.names.apply("t", renames(3)).await;
    assert!(matches!(
        again,
        Err(ApplyError::Write { index: 1, .. } | ApplyError::NoRegistration { index: 0 })
    ));
    // And back, to the name that is held for her.
    let back = vec![saves("old", "ann", 4), frees("new", 4)];
    db.other.apply("t", back).await.unwrap();
    assert_eq!(owners(&db, &["old", "new"]).await, [Some("ann".to_owned()), None]);
}

async fn none_is_done_where_one_is_refused(db: Database) {
    let ann = db.names.save(save("a", "ann", 5)).await.unwrap();
    let zoe = db.names.save(save("z", "zoe", 5)).await.unwrap();
    let before = db.names.usage("t").await.unwrap();
    let others = || vec![saves("b", "bob", 1), hands_over("z", "bob", 6), saves("y", "bob", 1)];
    let with = |write: WriteOne, at: usize| {
        let mut writes = others();
        writes.insert(at, write);
        writes
    };
    for at in 0..4 {
        for names in [&db.names, &db.other] {
            let taken = names.apply("t", with(saves("a", "bob", 6), at)).await;
            assert_eq!(taken, refused(at, SaveError::Taken(Box::new(ann.clone()))));
            for late in [frees("a", 4), hands_over("a", "bob", 4)] {
                assert_eq!(
                    names.apply("t", with(late, at)).await,
                    refused(at, SaveError::LeaseLost)
                );
            }
        }
    }
    assert_eq!(db.other.find("t", "a").await.unwrap(), Some(ann));
    assert_eq!(db.other.find("t", "z").await.unwrap(), Some(zoe));
    assert_eq!(owners(&db, &["b", "y"]).await, [None, None]);
    assert_eq!(
        (db.names.usage("t").await.unwrap(), db.recount("t").await),
        (before, before)
    );
    db.names.apply("t", others()).await.unwrap();
}

async fn a_name_without_a_registration_is_neither_changed_nor_freed(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    db.names.save(save("b", "ann", 1)).await.unwrap();
    assert!(db.names.free(free("b", 1)).await.unwrap());
    for name in ["b", "none"] {
        for write in [frees(name, 2), hands_over(name, "bob", 2)] {
            let done = db.other.apply("t", vec![hands_over("a", "bob", 2), write]).await;
            assert_eq!(done, Err(ApplyError::NoRegistration { index: 1 }));
        }
    }
    assert_eq!(owner(&db.names, "a").await.as_deref(), Some("ann"));
}

// Shows P5: nothing is written under a lease that has ended.
async fn the_first_lease_that_ends_is_said(db: Database) {
    let mut late = save("a", "ann", 1);
    late.deadline = Instant::now();
    let done = db
        .names
        .apply("t", vec![saves("b", "ann", 1), WriteOne::Save(late)])
        .await;
    assert_eq!(done, refused(1, SaveError::LeaseLost));
    assert_eq!(owners(&db, &["a", "b"]).await, [None, None]);
}

async fn writes_that_break_a_rule_are_refused(db: Database) {
    let invalid = async |writes: Vec<WriteOne>, at: Option<usize>, expect: &str| match db.names.apply("t", writes).await
    {
        Err(ApplyError::Write {
            index,
            error: SaveError::Invalid { reason },
        }) if Some(index) == at => {
            assert!(reason.contains(expect), "{reason}");
        }
        Err(ApplyError::All(SaveError::Invalid { reason })) if at.is_none() => {
            assert!(reason.contains(expect), "{reason}");
        }
        other => panic!("{expect}: {other:?}"),
    };
    invalid(Vec::new(), None, "nothing to write").await;
    let many = (0..17).map(|number| saves(&number.to_string(), "ann", 1)).collect();
    invalid(many, None, "at most 16 writes").await;
    invalid(vec![saves("a", "ann", 1), saves("b", "", 1)], Some(1), "owner").await;
    invalid(
        vec![saves("b", "ann", 1), saves("a", "ann", 1), frees("b", 1)],
        Some(2),
        "twice",
    )
    .await;
    let mut other = save("b", "ann", 1);
    other.tenant = "u".to_owned();
    invalid(vec![saves("a", "ann", 1), WriteOne::Save(other)], Some(1), "\"u\"").await;
    let mut keyed = [save("a", "ann", 1), save("b", "ann", 1)];
    for save in &mut keyed {
        save.request = Some(RequestKey::new("t", "k", &[]));
    }
    invalid(keyed.map(WriteOne::Save).to_vec(), Some(1), "key").await;
    invalid(
        vec![saves("a", "ann", 1), saves("b", "ann", u64::MAX)],
        Some(1),
        "fencing token",
    )
    .await;
    assert_eq!(db.names.usage("t").await.unwrap().registrations, 0);
    let config = NamesConfig {
        apply_max: 20,
        ..NamesConfig::default()
    };
    let names = open(&db.url, config).await.unwrap();
    let many = (0..20).map(|number| saves(&number.to_string(), "ann", 1)).collect();
    assert_eq!(names.apply("t", many).await.unwrap().len(), 20);
}

// Shows P6: beyond the quota nothing is written.
async fn the_quota_counts_the_sum(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    db.names.save(save("b", "robert", 1)).await.unwrap();
    let has = db.names.usage("t").await.unwrap();
    let limited = |mut write: WriteOne, bytes| {
        match &mut write {
            WriteOne::Save(save) => save.quota = quota(3, bytes),
            WriteOne::Update(update) => update.quota = quota(3, bytes),
            WriteOne::Free(_) => {}
        }
        write
    };
    // One row grows by as much as the other shrinks, whichever is written first.
    let swap = |a: &str, b: &str, token| {
        [hands_over("a", a, token), hands_over("b", b, token)]
            .map(|write| limited(write, has.bytes))
            .to_vec()
    };
    db.names.apply("t", swap("robert", "ann", 2)).await.unwrap();
    db.other.apply("t", swap("ann", "robert", 3)).await.unwrap();
    let bytes = Err(ApplyError::All(SaveError::Quota(QuotaKind::Bytes)));
    assert_eq!(db.names.apply("t", swap("robert", "anna", 4)).await, bytes);
    db.names.apply("t", swap("robert", "an", 4)).await.unwrap();
    assert_eq!(db.names.usage("t").await.unwrap().bytes, has.bytes - 1);
    // The row of a freed name counts, so a new name needs another one.
    let saves_all = |names: &[&str]| {
        names
            .iter()
            .map(|name| limited(saves(name, "ann", 5), 1 << 30))
            .collect::<Vec<_>>()
    };
    let rows = Err(ApplyError::All(SaveError::Quota(QuotaKind::Registrations)));
    assert_eq!(db.names.apply("t", saves_all(&["c", "d"])).await, rows);
    let mut renames = saves_all(&["c"]);
    renames.push(frees("a", 5));
    db.names.apply("t", renames).await.unwrap();
    assert_eq!(db.names.apply("t", saves_all(&["a", "d"])).await, rows);
    db.names.apply("t", saves_all(&["a"])).await.unwrap();
    assert_eq!(db.names.usage("t").await.unwrap(), db.recount("t").await);
    assert_eq!(db.names.usage("t").await.unwrap().registrations, 3);
}

async fn a_repeated_request_finds_what_it_has_done(db: Database) {
    db.names.save(save("a", "ann", 1)).await.unwrap();
    let request = RequestKey::new("t", "k", &[b"rename a b"]);
    let renames = |token| {
        let mut new = save("b", "ann", token);
        new.request = Some(request);
        vec![frees("a", token), WriteOne::Save(new)]
    };
    let done = db.names.apply("t", renames(2)).await.unwrap();
    let saved = done[1].clone().unwrap();
    let known = PastRequest::Replayed(Box::new(saved.clone()));
    assert_eq!(db.other.find_request("t", request).await.unwrap(), known);
    db.names.save(save("a", "bob", 3)).await.unwrap();
    let again = db.other.apply("t", renames(4)).await;
    assert_eq!(again, refused(1, SaveError::Replayed(Box::new(saved))));
    assert_eq!(owner(&db.names, "a").await.as_deref(), Some("bob"));
}

// 16 callers over two hosts hand the owners of six names round; each write sees to it that every owner has one name.
async fn transactions_in_any_order_wait_for_each_other_and_are_whole(db: Database) {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    for name in NAMES {
        db.names.save(save(name, name, 0)).await.unwrap();
    }
    let token = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let tasks: Vec<_> = (0..16_usize)
        .map(|task| {
            let names = Arc::clone([&db.names, &db.other][task % 2]);
            let token = Arc::clone(&token);
            tokio::spawn(async move {
                let mut done = 0;
                for step in 0..12 {
                    let token = token.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let first = (task + step) % 6;
                    let picked: Vec<_> = (0..2 + task % 4)
                        .map(|next| NAMES[(first + next * (1 + task % 5 % 2 * 4)) % 6])
                        .collect();
                    let turned = picked.iter().cycle().skip(1);
                    // All get the owner of the next; who those are now nobody knows, but each row is of one transaction.
                    let writes = picked.iter().zip(turned).map(|(name, next)| {
                        let mut wish = hand_over(name, next, token);
                        wish.change.attributes = Some(vec![("by".to_owned(), token.to_string())]);
                        wish.deadline = Instant::now() + Duration::from_secs(60);
                        WriteOne::Update(wish)
                    });
                    match names.apply("t", writes.collect()).await {
                        Ok(_) => done += 1,
                        Err(ApplyError::Write {
                            error: SaveError::LeaseLost,
                            ..
                        }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert!(done > 0);
    for name in NAMES {
        let found = db.names.find("t", name).await.unwrap().unwrap();
        let by = found.fencing_token.get().to_string();
        assert_eq!(found.attributes, [("by".to_owned(), by)], "{name}");
    }
}

async fn one_that_is_under_way_with_a_single_write_is_whole(db: Database) {
    for round in 0..20_u64 {
        let (a, b) = (format!("{round} a"), format!("{round} b"));
        let both = |owner: &str, token| vec![saves(&b, owner, token), saves(&a, owner, token)];
        let alone = Save {
            fencing_token: FencingToken::new(1),
            ..save(&b, "alone", 1)
        };
        let (one, other, single) = tokio::join!(
            db.names.apply("t", both("one", 1)),
            db.other.apply("t", both("other", 1)),
            db.other.save(alone)
        );
        let won = [one.is_ok(), other.is_ok(), single.is_ok()];
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "{one:?} {other:?} {single:?}"
        );
        let expect = [("one", "one"), ("other", "other"), ("", "alone")];
        let (of_a, of_b) = expect[won.iter().position(|won| *won).unwrap()];
        eventually(async || owner(&db.names, &b).await.as_deref() == Some(of_b)).await;
        assert_eq!(owner(&db.names, &a).await.unwrap_or_default(), of_a);
    }
}
