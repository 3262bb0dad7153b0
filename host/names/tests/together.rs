//! What goes to a server in one statement.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use namelock_names::{FencingToken, Keep, Names, NamesConfig, Quota, Registration, Save, SaveError, open};
use namelock_test_servers::Postgres;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

/// A table that is locked by a transaction, so that what is asked of it meanwhile waits.
struct Locked(Client);

impl Locked {
    async fn lock(server: &Postgres) -> Self {
        let client = client(server).await;
        let lock = "BEGIN; LOCK TABLE namelock_registrations IN ACCESS EXCLUSIVE MODE";
        client.batch_execute(lock).await.unwrap();
        Self(client)
    }

    /// Waits until this many statements wait for the table.
    async fn until_waiting(&self, statements: i64) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'namelock' AND wait_event_type = 'Lock'";
        let all = async {
            while self.0.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < statements {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    }

    async fn unlock(self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }
}

async fn client(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn open_server(server: &Postgres) -> Arc<dyn Names> {
    let config = NamesConfig {
        timeout: Duration::from_secs(20),
        ..NamesConfig::default()
    };
    open(&server.url().parse().unwrap(), config).await.unwrap()
}

fn save(name: &str, token: u64) -> Save {
    Save {
        tenant: "t".to_owned(),
        name: name.to_owned(),
        owner: format!("owner of {name}"),
        lifetime: Some(Duration::from_secs(1000 + token)),
        attributes: vec![("of".to_owned(), name.to_owned())],
        fencing_token: FencingToken::new(token),
        deadline: Instant::now() + Duration::from_secs(60),
        keep: Keep::default(),
        quota: Quota::default(),
        hold: Duration::ZERO,
        request: None,
    }
}

type Saved = Result<Registration, SaveError>;

/// Saves all of these at once while the table is locked, until `before_unlock`; returns what each was told.
async fn save_together(
    server: &Postgres,
    names: &Arc<dyn Names>,
    saves: &[Save],
    before_unlock: impl Future<Output = ()>,
) -> Vec<Saved> {
    // What the tenant keeps is known for a second from now.
    names
        .save(save(&format!("look {:?}", Instant::now()), 1))
        .await
        .unwrap();
    let locked = Locked::lock(server).await;
    let tasks: Vec<_> = saves
        .iter()
        .map(|save| {
            let (names, save) = (Arc::clone(names), save.clone());
            tokio::spawn(async move { names.save(save).await })
        })
        .collect();
    locked.until_waiting(1).await;
    before_unlock.await;
    locked.unlock().await;
    let mut told = Vec::new();
    for task in tasks {
        told.push(task.await.unwrap());
    }
    told
}

fn is_as_asked(saved: &Saved, save: &Save) -> bool {
    saved.as_ref().is_ok_and(|saved| {
        let lifetime = save.lifetime.map(|lifetime| lifetime.as_millis());
        (&saved.name, &saved.owner, saved.fencing_token) == (&save.name, &save.owner, save.fencing_token)
            && saved.attributes == save.attributes
            && saved.expires_ms.map(|end| u128::from(end - saved.created_ms)) == lifetime
    })
}

/// A name that has ended under the token 9, one that has none, and one that is active.
async fn prepare(names: &Arc<dyn Names>) {
    let brief = Save {
        lifetime: Some(Duration::from_millis(1)),
        ..save("fenced", 9)
    };
    names.save(brief).await.unwrap();
    names.save(save("taken", 1)).await.unwrap();
    while names.find("t", "fenced").await.unwrap().is_some() {}
}

#[tokio::test]
async fn saves_that_go_together_each_get_their_own_answer() {
    let server = Postgres::start();
    let (names, client) = (open_server(&server).await, client(&server).await);
    prepare(&names).await;
    for round in 0_u64.. {
        let mut saves: Vec<_> = (0..20).map(|number| save(&format!("{round} {number:02}"), 7)).collect();
        let endless = Save {
            lifetime: None,
            ..save(&format!("{round} endless"), 7)
        };
        // In no order, and those that are refused among the others.
        saves.reverse();
        saves.insert(5, save("taken", 8));
        saves.insert(9, save("fenced", 8));
        saves.insert(12, endless);
        saves.insert(3, save(&format!("{round} twice"), 1));
        saves.insert(14, save(&format!("{round} twice"), 2));
        let told = save_together(&server, &names, &saves, async {}).await;
        for (told, save) in told.iter().zip(&saves) {
            match save.name.as_str() {
                "taken" => assert!(
                    matches!(told, Err(SaveError::Taken(by)) if by.name == "taken"),
                    "{told:?}"
                ),
                "fenced" => assert_eq!(told.as_ref().unwrap_err(), &SaveError::LeaseLost),
                name if name.ends_with("twice") => {}
                _ => assert!(is_as_asked(told, save), "{told:?} of {save:?}"),
            }
            if let Ok(told) = told {
                assert_eq!(names.find("t", &save.name).await.unwrap().as_ref(), Some(told));
            }
        }
        let twice = saves.iter().zip(&told).filter(|(save, _)| save.name.ends_with("twice"));
        assert_eq!(twice.filter(|(_, told)| told.is_ok()).count(), 1);
        let statements = "SELECT count(DISTINCT xmin::text) FROM namelock_registrations
            WHERE left(convert_from(name, 'UTF8'), length($1)) = $1 AND owner <> ''";
        let of_round = client.query_one(statements, &[&format!("{round} ")]).await.unwrap();
        // Two that were under way, the others together, and whichever name was twice.
        if of_round.get::<_, i64>(0) <= 4 {
            return;
        }
        // This machine has taken longer than what was seen of the tenant is trusted.
    }
}

// Shows P5: a lease that ends while its write waits with others writes nothing, and costs the others nothing but time.
#[tokio::test]
async fn of_saves_that_go_together_only_the_one_is_refused_whose_lease_has_ended() {
    let server = Postgres::start();
    let names = open_server(&server).await;
    prepare(&names).await;
    let mut saves: Vec<_> = (0..20).map(|number| save(&format!("{number:02}"), 7)).collect();
    let end = Instant::now() + Duration::from_millis(300);
    for late in [1, 11] {
        saves[late].deadline = end;
    }
    saves.push(save("taken", 8));
    let told = save_together(&server, &names, &saves, tokio::time::sleep_until(end)).await;
    for (index, (told, save)) in told.iter().zip(&saves).enumerate() {
        match index {
            1 | 11 => assert_eq!(told.as_ref().unwrap_err(), &SaveError::LeaseLost),
            20 => assert!(matches!(told, Err(SaveError::Taken(_))), "{told:?}"),
            _ => assert!(is_as_asked(told, save), "{told:?} of {save:?}"),
        }
        let found = names.find("t", &save.name).await.unwrap();
        assert_eq!(found.is_some(), ![1, 11].contains(&index));
    }
}

#[tokio::test]
async fn reads_that_go_together_each_get_their_own_answer() {
    let server = Postgres::start();
    let names = open_server(&server).await;
    prepare(&names).await;
    names.save(save("other", 3)).await.unwrap();
    let locked = Locked::lock(&server).await;
    let asked = ["taken", "fenced", "other", "never", "taken", "other", "taken", "Taken"];
    let tasks = asked.map(|name| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.find("t", name).await })
    });
    let of_another = {
        let names = Arc::clone(&names);
        tokio::spawn(async move { names.find("u", "taken").await })
    };
    // One of each tenant, at least.
    locked.until_waiting(2).await;
    locked.unlock().await;
    for (task, name) in tasks.into_iter().zip(asked) {
        let found = task.await.unwrap().unwrap();
        let expected = ["taken", "other"].contains(&name).then_some(name);
        assert_eq!(found.as_ref().map(|found| found.name.as_str()), expected);
        assert!(found.is_none_or(|found| found.owner == format!("owner of {name}")));
    }
    assert_eq!(of_another.await.unwrap().unwrap(), None);
}

/// How often two saves are sent that should go together: a slow machine sends one of them alone now and then, and not always.
const ROUNDS: u64 = 30;

// Shows P5: a lease that ends while another save of its statement waits, which then changes nothing, writes nothing.
#[tokio::test]
async fn a_save_is_looked_at_once_no_other_one_of_its_statement_waits_any_longer() {
    let server = Postgres::start();
    let names = open_server(&server).await;
    prepare(&names).await;
    for round in 0..ROUNDS {
        names.save(save(&format!("look {round}"), 1)).await.unwrap();
        let holder = client(&server).await;
        let hold = "BEGIN; UPDATE namelock_registrations SET fencing_token = fencing_token WHERE name = 'taken'";
        holder.batch_execute(hold).await.unwrap();
        // In the order of the names the one that waits is the last.
        let (first, end) = (format!("first {round}"), Instant::now() + Duration::from_millis(500));
        let brief = Save {
            deadline: end,
            ..save(&first, 7)
        };
        let tasks = [brief, save("taken", 8)].map(|save| {
            let names = Arc::clone(&names);
            tokio::spawn(async move { names.save(save).await })
        });
        Locked(client(&server).await).until_waiting(1).await;
        tokio::time::sleep_until(end).await;
        // One that went alone is there by now, though its task may not have heard of it; or it is on its way on a slow machine.
        let may_wait = !tasks[0].is_finished() && names.find("t", &first).await.unwrap().is_none();
        holder.batch_execute("ROLLBACK").await.unwrap();
        let [told, taken] = tasks;
        assert!(matches!(taken.await.unwrap(), Err(SaveError::Taken(_))));
        let told = told.await.unwrap();
        if may_wait && told == Err(SaveError::LeaseLost) {
            assert_eq!(names.find("t", &first).await.unwrap(), None);
            return;
        }
        // It went alone: this machine has taken longer than what was seen of the tenant is trusted, or than the lease lasted.
    }
    panic!("in none of {ROUNDS} rounds was a save refused whose lease ended while it waited with another one");
}
