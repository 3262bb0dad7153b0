//! Tenants in several names databases, one of which is moved while all are served.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namelock_test_artifacts::ROOMS;
use namelock_test_servers::{Memcached, Postgres};

use crate::fixture::{Builder, Host};

/// Runs `namelock names` with these databases; tells its exit code, and what it printed on both outputs.
fn names(arguments: &[&str], urls: &str) -> (Option<i32>, String) {
    let mut command = command(arguments, urls);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), said.concat())
}

fn command(arguments: &[&str], urls: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
    command.arg("names").args(arguments).args(["--names", urls]);
    command
}

/// Registers names until it is told to stop; returns those that were, and how many were not because the database could not be used.
async fn registers(host: &Host, tenant: &str, task: usize, stop: &AtomicBool) -> (Vec<String>, u64) {
    let (mut registered, mut unavailable) = (Vec::new(), 0);
    while !stop.load(Relaxed) {
        let name = format!("{task}-{}", registered.len() as u64 + unavailable);
        let answer = host.post(tenant, &name, "ann").await;
        match answer.status.as_u16() {
            201 => registered.push(name),
            503 => {
                assert_eq!(answer.body["code"], "names_unavailable", "{:?}", answer.body);
                unavailable += 1;
            }
            status => panic!("{status}: {:?}", answer.body),
        }
    }
    (registered, unavailable)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_moved_by_a_command_that_is_killed_and_others_are_served() {
    let (memcached, first, second) = (Memcached::start(), Postgres::start(), Postgres::start());
    let urls = format!("{},{}", first.url(), second.url());
    let host = || {
        let builder = Builder::new().lock(&memcached).names_url(&urls);
        builder.tenant("one", ROOMS, "").tenant("two", ROOMS, "").start()
    };
    let hosts = [host(), host(), host()];
    for tenant in ["one", "two"] {
        assert_eq!(hosts[0].post(tenant, "early", "ann").await.status, 201);
    }
    let (_, placed) = names(&["placement"], &urls);
    let (at_first, at_second) = (first.address().to_string(), second.address().to_string());
    let line = |tenant: &str, placed: &str| {
        let line = placed.lines().find(|line| line.starts_with(tenant));
        line.map(str::to_owned).unwrap_or_else(|| panic!("{placed}"))
    };
    assert!(line("one", &placed).contains(&at_first), "{placed}");
    assert!(line("two", &placed).contains(&at_second), "{placed}");

    let stop = AtomicBool::new(false);
    let moves = async {
        let urls = urls.clone();
        let moved = tokio::task::spawn_blocking(move || {
            // Ended while it is at any of its steps, five times; the last one runs to its end.
            for ended_after in [50, 150, 250, 350, 450] {
                let mut mover = command(&["move", "one", "--to", "2"], &urls)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                std::thread::sleep(Duration::from_millis(ended_after));
                mover.kill().unwrap();
                mover.wait().unwrap();
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                match names(&["move", "one", "--to", "2"], &urls) {
                    (Some(0), _) => return,
                    // The server has not noticed yet that the one before is gone.
                    (_, said) => assert!(Instant::now() < deadline, "{said}"),
                }
            }
        });
        moved.await.unwrap();
        stop.store(true, Relaxed);
    };
    let (one, other, third, others, ()) = tokio::join!(
        registers(&hosts[0], "one", 0, &stop),
        registers(&hosts[1], "one", 1, &stop),
        registers(&hosts[2], "one", 2, &stop),
        registers(&hosts[2], "two", 3, &stop),
        moves,
    );
    assert_eq!(others.1, 0, "calls of the other tenant failed");
    let (_, placed) = names(&["placement"], &urls);
    assert!(
        line("one", &placed).contains(&at_second) && line("one", &placed).ends_with("there"),
        "{placed}"
    );
    let all = [&one.0, &other.0, &third.0];
    for (index, name) in all.iter().flat_map(|names| names.iter()).enumerate() {
        let found = hosts[index % 3].get("one", name).await;
        assert_eq!(
            (found.status.as_u16(), &found.body["owner"]),
            (200, &"ann".into()),
            "{name}"
        );
    }
    let kept = first.ask("SELECT count(*) FROM namelock_registrations WHERE tenant = 'one'");
    assert_eq!(kept.as_deref(), Some("0"));
    println!(
        "{} names of the moved tenant, {} of the other",
        all.map(Vec::len).iter().sum::<usize>(),
        others.0.len()
    );
}

#[test]
fn what_cannot_be_moved_is_said_with_what_can_be_done() {
    let (first, second) = (Postgres::start(), Postgres::start());
    let urls = format!("{},{}", first.url(), second.url());
    let refused = |arguments: &[&str], urls: &str, code: i32, why: &str| {
        let (found, said) = names(arguments, urls);
        assert!(found == Some(code) && said.contains(why), "{found:?}: {said}");
    };
    refused(&["move", "one", "--to", "2"], &urls, 1, "has no database yet");
    refused(
        &["move", "one", "--to", "3"],
        &urls,
        1,
        &format!("1: {}", first.address()),
    );
    // One that is down keeps its number, and no other is taken for it.
    let third = Postgres::start();
    let with_gap = format!("{},postgres://127.0.0.1:1/none,{}", first.url(), third.url());
    let choices = format!("3: {}", third.address());
    refused(&["move", "one", "--to", "2"], &with_gap, 1, &choices);
    refused(&["move", "one", "--back"], &urls, 1, "has no database yet");
    refused(&["move", "one"], &urls, 2, "--to");
    refused(&["move", "one", "--to", "2"], &first.url(), 1, "give all of them");
    refused(&["placement"], &format!("{},sqlite:names.db", first.url()), 2, "sqlite");
    refused(&["placement"], &format!("{},{}", first.url(), first.url()), 2, "twice");
}
