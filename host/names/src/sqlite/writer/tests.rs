//! What a batch does, with a clock that the test sets.

use std::collections::HashMap;

use namelock_types::FencingToken;
use proptest::prelude::*;

use super::*;
use crate::quota::Quota;
use crate::sqlite::schema;

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
        quota: Quota::default(),
    }
}

fn free(name: &str, fencing_token: u64) -> Free {
    Free {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        fencing_token: FencingToken::new(fencing_token),
        deadline: deadline(),
    }
}

/// Commits the saves of three names as one batch, in which a trigger fails the save of `poison` by SQLite's `raise`.
/// Returns the answers, and the names that are in the file.
fn check_poisoned_batch(raise: &str) -> (Vec<Result<Registration, SaveError>>, Vec<String>) {
    let (mut connection, _folder) = database();
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
    commit(&mut connection, &mut batch, None);
    let answers = answers
        .into_iter()
        .map(|mut answer| answer.try_recv().unwrap())
        .collect();
    let mut statement = connection
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
    let (mut connection, _folder) = database();
    let (reply, answer) = oneshot::channel();
    drop(answer);
    commit(&mut connection, &mut vec![Write::Save(save("a", 1, None), reply)], None);
    assert_eq!(active(&connection, "t", "a", 0).unwrap(), None);
}

#[test]
fn a_registration_is_active_up_to_but_not_including_its_end() {
    let (mut connection, _folder) = database();
    let transaction = connection.transaction().unwrap();
    let first = run_save(&save("a", 1, Some(10)), &transaction, 100).unwrap();
    assert_eq!((first.created_ms, first.expires_ms), (100, Some(110)));
    assert_eq!(active(&transaction, "t", "a", 109).unwrap().as_ref(), Some(&first));
    assert_eq!(
        run_save(&save("a", 2, None), &transaction, 109),
        Err(SaveError::Taken(Box::new(first)))
    );
    assert_eq!(active(&transaction, "t", "a", 110).unwrap(), None);
    assert_eq!(run_free(&free("a", 2), &transaction, 110), Ok(false));
    let second = run_save(&save("a", 2, None), &transaction, 110).unwrap();
    assert_eq!((second.created_ms, second.expires_ms), (110, None));
}

/// The model of one row, without SQL.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    created: u64,
    expires: Option<u64>,
    fencing_token: u64,
}

impl Row {
    fn is_active(&self, now: u64) -> bool {
        // An interval that ends where it begins is empty.
        self.expires
            .is_none_or(|expires| now < expires && self.created < expires)
    }
}

/// One request, made after the clock has moved by some milliseconds, forwards or back.
#[derive(Debug, Clone)]
enum Ask {
    Save(u64, Option<u64>),
    Free(u64),
    Find,
}

fn asks() -> impl Strategy<Value = Vec<(i64, usize, Ask)>> {
    let ask = prop_oneof![
        (0..6_u64, proptest::option::weighted(0.8, 1..8_u64)).prop_map(|(token, lifetime)| Ask::Save(token, lifetime)),
        (0..6_u64).prop_map(Ask::Free),
        Just(Ask::Find),
    ];
    // The clock moves mostly forwards.
    proptest::collection::vec((-2..6_i64, 0..2_usize, ask), 1..40)
}

proptest! {
    // Shows P1: whatever the requests and the clock do, a name with an active registration is refused to everybody
    // else.
    #[test]
    fn any_sequence_is_answered_as_the_model_says(asks in asks()) {
        thread_local!(static DATABASE: std::cell::RefCell<(Connection, tempfile::TempDir)> = database().into());
        DATABASE.with_borrow_mut(|(connection, _)| check_sequence(connection, &asks))?;
    }
}

/// Sends the same requests to the database and to the model, in a transaction that is rolled back.
fn check_sequence(connection: &mut Connection, asks: &[(i64, usize, Ask)]) -> Result<(), TestCaseError> {
    let transaction = connection.transaction().unwrap();
    let mut model: HashMap<&str, Row> = HashMap::new();
    let mut now: i64 = 1_000;
    for (step, name, ask) in asks {
        now += step;
        let at = u64::try_from(now).unwrap();
        let name = ["a", "A"][*name];
        let row = model.get(name);
        let holder = row.filter(|row| row.is_active(at)).cloned();
        let is_newer = |token: u64| row.is_some_and(|row| row.fencing_token > token);
        match *ask {
            Ask::Save(token, lifetime) => {
                let saved = run_save(&save(name, token, lifetime), &transaction, now);
                match (holder, saved) {
                    (Some(holder), Err(SaveError::Taken(taken))) => {
                        prop_assert_eq!(taken.fencing_token.get(), holder.fencing_token);
                    }
                    (None, Err(SaveError::LeaseLost)) => prop_assert!(is_newer(token)),
                    (None, Ok(saved)) => {
                        prop_assert!(!is_newer(token));
                        let expires = lifetime.map(|lifetime| at + lifetime);
                        prop_assert_eq!((saved.created_ms, saved.expires_ms), (at, expires));
                        model.insert(
                            name,
                            Row {
                                created: at,
                                expires,
                                fencing_token: token,
                            },
                        );
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
                        prop_assert_eq!(active(&transaction, "t", name, now).unwrap(), None);
                        let expires = Some(at.max(holder.created));
                        model.insert(
                            name,
                            Row {
                                expires,
                                fencing_token: token,
                                ..holder
                            },
                        );
                    }
                }
            }
            Ask::Find => {
                let found = active(&transaction, "t", name, now).unwrap();
                prop_assert_eq!(
                    found.map(|found| found.fencing_token.get()),
                    holder.map(|holder| holder.fencing_token)
                );
            }
        }
    }
    Ok(())
}
