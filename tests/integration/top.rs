//! `namelock top` in a real terminal, before real hosts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;
use serde_json::json;

use crate::fixture::{Builder, DEADLINE, Host, LONG_CALLS, LONG_LEASES, eventually, lock_is_taken};
use crate::operators::admin_token;
use crate::page::long_waits;
use crate::terminal::Terminal;

const SIZE: (u16, u16) = (80, 24);

fn address(host: &Host) -> &str {
    host.admin.strip_prefix("http://").unwrap()
}

fn top(hosts: &[&str]) -> Terminal {
    Terminal::start(SIZE, &["top", "--admin", &hosts.join(",")], |_| {})
}

/// Runs `namelock top` where there is no terminal.
fn piped(hosts: &[&str], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
    command.args(["top", "--admin", &hosts.join(",")]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

/// The line of the screen that begins so, behind the mark of what is selected.
fn line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines()
        .find(|line| line.get(2..).is_some_and(|line| line.starts_with(begin)))
}

// Shows P5: a call whose lease was ended writes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_and_waited_for_is_seen_and_its_lease_ended_by_two_keys() {
    let memcached = Memcached::start();
    let host = Builder::new()
        .config(&long_waits())
        .lock(&memcached)
        .demo()
        // It waits for the name that it holds itself.
        .tenant("slow", guests::WAIT_LONG, LONG_CALLS)
        .start();
    host.wait_until_ready();
    let mut terminal = top(&[address(&host)]);
    let text = terminal.shows("Hosts: 1 of 1 answer");
    assert!(text.contains("memcached up") && text.contains("database up"), "{text}");
    assert!(terminal.coloured() > 0);
    terminal.shows("no lock is held");
    let watched = async {
        eventually("the lock is waited for", async || {
            host.admin("/locks").await.body[0]["waiting"] == 1
        })
        .await;
        let begin = Instant::now();
        tokio::task::block_in_place(|| {
            terminal.shows("Locks: 1 held, 1 wait");
            println!("seen {:?} after it was there", begin.elapsed());
            terminal.types("e");
            terminal.shows("select a lock first");
            terminal.types("\t");
            terminal.shows("> Locks");
            terminal.types("e");
            let text = terminal.shows("y/n? End the lease");
            assert!(text.contains("of slow at"), "{text}");
            terminal.types("n");
            terminal.shows("the lease was kept");
            terminal.types("e");
            terminal.shows("y/n? End the lease");
            terminal.types("y");
            terminal.shows("was ended");
        });
    };
    let (answer, ()) = tokio::join!(host.post("slow", "room", "ann"), watched);
    answer.is_problem(503, "lease_lost");
    assert_eq!(host.get("slow", "room").await.status, 404);
    terminal.shows("no lock is held");
    let text = terminal.until("the fault is shown", |text| line(text, "lease_lost").is_some());
    assert!(line(&text, "lease_lost").unwrap().contains(" slow "), "{text}");
    terminal.types("q");
    assert_eq!(terminal.ends(), Some(0));
    let log = host.log();
    assert!(log.contains("a lease was ended by the operator"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_the_end_of_a_lease_need_their_rights_and_names_do_nothing_to_the_terminal() {
    let memcached = Memcached::start();
    let [read, all] = ["read", "read,names,write"].map(admin_token);
    let host = Builder::new()
        .config(&format!("{LONG_LEASES}\n{}\n{}", read.1, all.1))
        .lock(&memcached)
        .tenant("slow", guests::SLEEP_HOLDING_LEASE, LONG_CALLS)
        .start();
    host.wait_until_ready();
    let start = |token: &str| {
        Terminal::start((120, 30), &["top", "--names", "--admin", address(&host)], |command| {
            command.env("NAMELOCK_ADMIN_TOKEN", token).env("NO_COLOR", "1");
        })
    };
    let name = "red\u{1b}[2J\u{1b}]2;mine\u{7}\u{9b}2J";
    let body = json!({ "name": name, "owner": "ann", "attributes": { "hold_ms": "200000" } });
    let watched = async {
        lock_is_taken(&memcached).await;
        tokio::task::block_in_place(|| {
            let mut terminal = start(&read.0);
            terminal.shows("names are not shown: this token does not have the right");
            terminal.types("\te");
            terminal.shows("y/n? End the lease");
            terminal.types("y");
            terminal.shows("was not ended: this token does not have the right");
            assert_eq!(terminal.coloured(), 0, "NO_COLOR is set");
            terminal.types("\u{1b}");
            assert_eq!(terminal.ends(), Some(0));

            let mut terminal = start(&all.0);
            let text = terminal.shows("\"red\\u{1b}[2J\\u{1b}]2;mine");
            assert!(text.contains("Hosts: 1 of 1 answer"), "{text}");
            terminal.was_not_abused();
            terminal.types("\te");
            terminal.shows("y/n? End the lease");
            terminal.types("y");
            terminal.shows("was ended");
            terminal.types("q");
            assert_eq!(terminal.ends(), Some(0));
        });
    };
    let (answer, ()) = tokio::join!(host.post_json("slow", &body), watched);
    answer.is_problem(503, "lease_lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_are_down_or_stand_still_are_shown_as_such_while_others_go_on() {
    let (host, other) = (Builder::new().demo().start(), Builder::new().demo().start());
    host.wait_until_ready();
    let mut terminal = top(&[address(&host), "127.0.0.1:1", address(&other)]);
    let text = terminal.shows("Hosts: 2 of 3 answer");
    assert!(line(&text, "127.0.0.1:1").unwrap().contains("NO ANSWER"), "{text}");
    terminal.shows("s: Connection refused");
    assert_eq!(host.post("demo", "room", "ann").await.status, 201);
    tokio::task::block_in_place(|| {
        let busy = |text: &str| line(text, "demo").is_some_and(|line| line.split_whitespace().nth(1) != Some("0"));
        terminal.until("the one that answers goes on", busy);
        other.process.signal("STOP");
        terminal.shows("it was asked and says nothing");
        terminal.shows("Hosts: 1 of 3 answer");
        // Keys do not wait for it either.
        terminal.types("/de");
        terminal.shows("tenants that begin with: de_");
        terminal.types("\r");
        terminal.shows("that begin with de");
        other.process.signal("CONT");
        terminal.shows("Hosts: 2 of 3 answer");
        other.process.signal("STOP");
        terminal.shows("Hosts: 1 of 3 answer");
        terminal.types("q");
        assert_eq!(terminal.ends(), Some(0));
        other.process.signal("CONT");
    });
}

/// A host that is none: it answers whatever it is asked with this.
fn imposter(status: &'static str, body: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.0 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn whatever_hosts_say_the_terminal_is_only_drawn_on() {
    let evil = "evil\u{1b}[2J\u{1b}]2;mine\u{7}\u{1b}]52;c;bWluZQ==\u{7}\u{9b}8;9;9t\r\n\u{1b}[?1049l\u{202e}";
    let overview = json!({
        "host": { "version": evil, "state": evil, "rate": 1e308, "p99_ms": 1e308, "calls_running": u64::MAX, "calls_waiting": u64::MAX },
        "lock": { "refused": evil, "servers": [{ "server": evil }] },
        "database": { "kind": evil, "refused": evil, "clock_off_ms": i64::MIN },
        "tenants": { "matching": u64::MAX, "rows": [{ "tenant": evil, "state": evil, "near": [{ "limit": evil, "percent": u64::MAX }] }] },
        "locks": { "held": u64::MAX, "rows": [{ "id": 1, "namespace": evil, "digest": evil, "age_ms": u64::MAX }] },
        "faults": { "codes": [{ "code": evil, "count": u64::MAX, "minutes": [u64::MAX, u64::MAX] }],
                    "lately": [{ "code": evil, "tenant": evil, "request_id": evil }] },
    });
    let hosts = [
        imposter("200 OK", overview.to_string()),
        imposter("200 OK", overview.to_string()),
        imposter("403 Forbidden", json!({ "detail": evil }).to_string()),
        imposter("200 OK", format!("no JSON {evil}")),
    ];
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let mut terminal = Terminal::start((100, 40), &["top", "--admin", &hosts.join(",")], |_| {});
    terminal.shows("Hosts: 2 of 4 answer");
    let text = terminal.shows("its answer is not what a host");
    for part in ["evil [2J ]2;mine", ">9999M", "EVIL [2J", "NO ANSWER"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    terminal.types("\te");
    terminal.shows("y/n? End the lease 1 of evil [2J");
    terminal.types("y");
    // The host says that it was: whether it is true is not known.
    terminal.shows("was ended");
    assert!(terminal.is_taken());
    terminal.was_not_abused();
    terminal.types("q");
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn the_terminal_may_be_small_and_change_its_size() {
    let host = Builder::new().demo().start();
    let mut terminal = Terminal::start((20, 5), &["top", "--admin", address(&host)], |_| {});
    terminal.until("the table with the keys has the room", |text| {
        text.contains("> Tenants: 1 of 1") && line(text, "demo").is_some()
    });
    for (columns, rows) in [(1, 1), (200, 2), (3, 60), (12, 12), (300, 100)] {
        terminal.resize(columns, rows);
        terminal.types("\t?x");
    }
    terminal.resize(80, 24);
    terminal.shows("Faults of the last hour");
    terminal.shows("q quit  Tab pane");
    terminal.types("q");
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    let host = Builder::new().demo().start();
    for key in ["q", "\u{1b}", "\u{3}"] {
        let mut terminal = top(&[address(&host)]);
        terminal.shows("Hosts: 1 of 1 answer");
        assert!(terminal.is_taken());
        terminal.types(key);
        assert_eq!(terminal.ends(), Some(0), "{key:?}");
    }
    for signal in ["TERM", "INT", "HUP"] {
        let mut terminal = top(&[address(&host)]);
        terminal.shows("Hosts: 1 of 1 answer");
        terminal.process.signal(signal);
        assert_eq!(terminal.ends(), Some(0), "{signal}");
    }
}

#[test]
fn it_ends_when_its_terminal_is_closed() {
    let host = Builder::new().demo().start();
    let terminal = top(&[address(&host)]);
    terminal.shows("Hosts: 1 of 1 answer");
    let mut process = terminal.close("?");
    assert!(process.wait(DEADLINE).is_some(), "it goes on without a terminal");
}

#[test]
fn without_a_terminal_it_prints_once_if_it_is_told_to() {
    let host = Builder::new().demo().start();
    host.wait_until_ready();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let refused = piped(&[address(&host)], &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(refused.stderr);
    assert!(said.contains("standard output is no terminal; pass --once"), "{said}");

    let printed = piped(&[address(&host)], &["--once"]);
    assert_eq!(printed.status.code(), Some(0));
    let said = text(printed.stdout);
    assert!(said.starts_with("Hosts: 1 of 1 answer\n"), "{said}");
    for title in ["Tenants: 1 of 1", "Locks: 0 held, 0 wait", "Faults of the last hour"] {
        assert!(said.lines().any(|line| line.starts_with(title)), "{title}: {said}");
    }
    assert!(line(&said, "demo").is_some() && !said.contains('\u{1b}'), "{said}");

    let printed = piped(&[address(&host), "127.0.0.1:1"], &["--once"]);
    assert_eq!(printed.status.code(), Some(1));
    let (said, error) = (text(printed.stdout), text(printed.stderr));
    assert!(line(&said, "127.0.0.1:1").unwrap().contains("NO ANSWER"), "{said}");
    assert!(line(&said, "demo").is_some(), "{said}");
    assert!(error.contains("no host answers at 127.0.0.1:1"), "{error}");

    for wrong in ["200ms", "2h", "often"] {
        let refused = piped(&[address(&host)], &["--once", "--every", wrong]);
        assert_eq!(refused.status.code(), Some(2), "{wrong}");
    }
}
