//! What a batch does, with a clock that the test sets.

use std::collections::HashMap;
use std::time::Duration;

use namelock_types::FencingToken;
use proptest::prelude::*;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::quota::Quota;
use crate::seen::Seen;
use crate::sqlite::clock::Machine;
use crate::sqlite::rows::active;
use crate::sqlite::schema;

/// The clocks of a machine, which a test sets.
#[derive(Clone, Default)]
struct Clocks {
    boottime_ms: Arc<AtomicI64>,
    wall_ms: Arc<AtomicI64>,
}

impl Clocks {
    fn clock(&self) -> Clock {
        let Self { boottime_ms, wall_ms } = self.clone();
        let read = move || (boottime_ms.load(Ordering::Relaxed), wall_ms.load(Ordering::Relaxed));
        Clock::new(Machine::new("test", read), Duration::ZERO, Arc::default())
    }
}

fn run_save(save: Save, transaction: &Transaction<'_>, now: i64) -> Result<Registration, SaveError> {
    statements::save(save, transaction, now, &Room::default())
}

fn run_free(free: &Free, transaction: &Transaction<'_>, now: i64) -> Result<bool, SaveError> {
    statements::free(free, transaction, now)
}

/// Creates a database for one test.
fn database() -> (Connection, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let connection = schema::open(&folder.path().join("names.db"), &NamesConfig::default()).unwrap();
    (connection, folder)
}

fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

fn save(name: &str, fencing_token: u64, lifetime_ms: Option<u64>) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: format!("owner {fencing_token}"),
        lifetime: lifetime_ms.map(Duration::from_millis),
        attributes: Vec::new(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: deadline(),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    }
}

fn free(name: &str, fencing_token: u64) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: deadline(),
        seen: Seen::Unread,
        keep: Keep::default(),
    }
}

/// Commits the saves of three names as one batch, in which a trigger fails the save of `poison` by SQLite's `raise`.
/// Returns the answers, and the names that are in the file.
fn check_poisoned_batch(raise: &str) -> (Vec<Result<Registration, SaveError>>, Vec<String>) {
    let (connection, _folder) = database();
    connection
        .execute_batch(&format!(
            "CREATE TRIGGER poison BEFORE INSERT ON registrations WHEN new.name = 'poison'
             BEGIN SELECT raise({raise}, 'refused by the test'); END"
        ))
        .unwrap();
    let (mut batch, answers): (Vec<_>, Vec<_>) = ["a", "poison", "b"]
        .map(|name| {
            let (reply, answer) = oneshot::channel();
            (Write::Save(save(name, 1, None), reply), answer)
        })
        .into_iter()
        .unzip();
    let mut writer = Writer::new(connection, Clocks::default().clock(), &NamesConfig::default());
    writer.commit(&mut batch);
    let answers = answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap())
        .collect();
    let mut statement = writer
        .connection
        .prepare("SELECT name FROM registrations ORDER BY name")
        .unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    (answers, names.map(Result::unwrap).collect())
}

#[test]
fn a_failed_write_does_not_affect_the_others_of_its_batch() {
    let (answers, names) = check_poisoned_batch("ABORT");
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(matches!(&answers[1], Err(SaveError::Unavailable { reason }) if reason.contains("refused by the test")));
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn no_write_of_a_batch_survives_a_rollback_by_sqlite() {
    let (answers, names) = check_poisoned_batch("ROLLBACK");
    for answer in &answers {
        assert!(matches!(answer, Err(SaveError::Unavailable { .. })), "{answer:?}");
    }
    let poison = answers[1].as_ref().unwrap_err().to_string();
    assert!(poison.contains("refused by the test"), "its own reason: {poison}");
    assert_eq!(names, [""; 0]);
}

#[test]
fn a_write_whose_caller_has_gone_is_not_begun() {
    let (connection, _folder) = database();
    let (reply, answer) = oneshot::channel();
    drop(answer);
    let mut batch = vec![Write::Save(save("a", 1, None), reply)];
    let mut writer = Writer::new(connection, Clocks::default().clock(), &NamesConfig::default());
    writer.commit(&mut batch);
    assert_eq!(active(&writer.connection, "t", "a", 0).unwrap(), None);
}

#[test]
fn a_registration_is_active_up_to_but_not_including_its_end() {
    let (mut connection, _folder) = database();
    let transaction = connection.transaction().unwrap();
    let first = run_save(save("a", 1, Some(10)), &transaction, 100).unwrap();
    assert_eq!((first.created_ms, first.expires_ms), (100, Some(110)));
    assert_eq!(active(&transaction, "t", "a", 109).unwrap().as_ref(), Some(&first));
    assert_eq!(
        run_save(save("a", 2, None), &transaction, 109),
        Err(SaveError::Taken(Box::new(first)))
    );
    assert_eq!(active(&transaction, "t", "a", 110).unwrap(), None);
    assert_eq!(run_free(&free("a", 2), &transaction, 110), Ok(false));
    let second = run_save(save("a", 2, None), &transaction, 110).unwrap();
    assert_eq!((second.created_ms, second.expires_ms), (110, None));
}

#[test]
fn a_registration_begins_no_earlier_than_the_one_before_it_ended() {
    let (mut connection, _folder) = database();
    let transaction = connection.transaction().unwrap();
    run_save(save("a", 1, None), &transaction, 5_000).unwrap();
    // As by a version that went by a wall clock, which is set back: it ends where it began, and stays ended.
    assert_eq!(run_free(&free("a", 2), &transaction, 1_000), Ok(true));
    assert_eq!(active(&transaction, "t", "a", 1_000).unwrap(), None);
    let second = run_save(save("a", 2, Some(10)), &transaction, 1_000).unwrap();
    assert_eq!((second.created_ms, second.expires_ms), (5_000, Some(5_010)));
}

/// The model of one row, without SQL.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    created: i64,
    expires: Option<i64>,
    fencing_token: u64,
    /// Whether it has ended, by its time or because it was freed: nothing brings it back.
    ended: bool,
}

/// One request, made after some milliseconds, and after the wall clock was set.
#[derive(Debug, Clone)]
enum Ask {
    Save(u64, Option<u64>),
    Free(u64),
    Find,
}

/// How long passes, by how much the wall clock is set forwards or back, which name, and what is asked.
type Step = (i64, i64, usize, Ask);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = prop_oneof![
        (0..6_u64, proptest::option::weighted(0.8, 1..5_000_u64))
            .prop_map(|(token, lifetime)| Ask::Save(token, lifetime)),
        (0..6_u64).prop_map(Ask::Free),
        Just(Ask::Find),
    ];
    let passes = prop_oneof![0..3_i64, 0..4_000_i64];
    let set = prop_oneof![3 => Just(0_i64), 1 => -20_000_000..20_000_000_i64];
    proptest::collection::vec((passes, set, 0..2_usize, ask), 1..40)
}

proptest! {
    // Shows P1: whatever the requests and the wall clock do, a name with an active registration is refused to everybody
    // else, it ends neither early nor late by more than 1 %, and what has ended does not come back.
    #[test]
    fn any_sequence_is_answered_as_the_model_says(steps in steps()) {
        thread_local!(static DATABASE: RefCell<(Connection, tempfile::TempDir)> = database().into());
        DATABASE.with_borrow_mut(|(connection, _)| check_sequence(connection, &steps))?;
    }
}

/// Sends the same requests to the database and to the model, in a transaction that is rolled back.
fn check_sequence(connection: &mut Connection, steps: &[Step]) -> Result<(), TestCaseError> {
    const BEGIN: i64 = 1_700_000_000_000;
    let transaction = connection.transaction().unwrap();
    let mut model: HashMap<&str, Row> = HashMap::new();
    let clocks = Clocks::default();
    clocks.wall_ms.store(BEGIN, Ordering::Relaxed);
    let mut clock = clocks.clock();
    let (mut real, mut last) = (BEGIN, clock.time(&transaction).unwrap().now_ms);
    for (passes, set, name, ask) in steps {
        real += passes;
        clocks.boottime_ms.fetch_add(*passes, Ordering::Relaxed);
        clocks.wall_ms.fetch_add(passes + set, Ordering::Relaxed);
        let time = clock.time(&transaction).unwrap();
        let now = time.now_ms;
        prop_assert!(
            now >= last && (now - real).abs() <= (real - BEGIN) / 100,
            "{} {}",
            now,
            real
        );
        prop_assert_eq!(time.purge_before_ms, now, "all of it was observed");
        last = now;
        for row in model.values_mut() {
            row.ended |= row.expires.is_some_and(|expires| expires <= now);
        }
        let name = ["a", "A"][*name];
        let row = model.get(name);
        let holder = row.filter(|row| !row.ended).cloned();
        let is_newer = |token: u64| row.is_some_and(|row| row.fencing_token > token);
        match *ask {
            Ask::Save(token, lifetime) => {
                let saved = run_save(save(name, token, lifetime), &transaction, now);
                match (holder, saved) {
                    (Some(holder), Err(SaveError::Taken(taken))) => {
                        prop_assert_eq!(taken.fencing_token.get(), holder.fencing_token);
                    }
                    (None, Err(SaveError::LeaseLost)) => prop_assert!(is_newer(token)),
                    (None, Ok(saved)) => {
                        prop_assert!(!is_newer(token));
                        let expires = lifetime.map(|lifetime| now + lifetime.cast_signed());
                        prop_assert_eq!(saved.created_ms.cast_signed(), now);
                        prop_assert_eq!(saved.expires_ms.map(u64::cast_signed), expires);
                        let row = Row {
                            created: now,
                            expires,
                            fencing_token: token,
                            ended: false,
                        };
                        model.insert(name, row);
                        prop_assert_eq!(active(&transaction, "t", name, now).unwrap(), Some(saved));
                    }
                    (holder, saved) => prop_assert!(false, "{:?} with {:?}", saved, holder),
                }
            }
            Ask::Free(token) => {
                let freed = run_free(&free(name, token), &transaction, now);
                match holder {
                    None => prop_assert_eq!(freed, Ok(false)),
                    Some(_) if is_newer(token) => prop_assert_eq!(freed, Err(SaveError::LeaseLost)),
                    Some(holder) => {
                        prop_assert_eq!(freed, Ok(true));
                        let row = Row {
                            expires: Some(now.max(holder.created)),
                            fencing_token: token,
                            ended: true,
                            ..holder
                        };
                        model.insert(name, row);
                    }
                }
            }
            Ask::Find => {}
        }
        let holder = model.get(name).filter(|row| !row.ended);
        let found = active(&transaction, "t", name, now).unwrap();
        prop_assert_eq!(
            found.map(|found| found.fencing_token.get()),
            holder.map(|holder| holder.fencing_token)
        );
    }
    Ok(())
}
