//! The example `idiom`, against what the Python idiom sends to the same memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use namelock_lock::LockKey;
use namelock_test_servers::Memcached;

const EXPIRY_SECONDS: u32 = 10;

fn start(name: &str, memcached: &Memcached) -> Child {
    // Examples are built with the tests of their package, into the folder beside theirs.
    let test = std::env::current_exe().unwrap();
    let example: PathBuf = test.ancestors().nth(2).unwrap().join("examples/idiom");
    Command::new(example)
        .args([name, &format!("memcached://{}", memcached.address())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The line that it says when it knows whether it has the lock.
fn says(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

#[test]
fn the_example_and_the_python_idiom_exclude_each_other() {
    let memcached = Memcached::start();
    let mut python = memcached.raw();
    let key = LockKey::new("", "room").unwrap().as_str().to_owned();

    let mut example = start("room", &memcached);
    let said = says(&mut example);
    assert!(said.starts_with("room is ours, with the fencing token "), "{said}");
    assert!(!python.add(&key, "1", EXPIRY_SECONDS), "it is locked");
    drop(example.stdin.take());
    assert!(example.wait().unwrap().success());
    assert!(python.add(&key, "1", EXPIRY_SECONDS), "it was released");

    // For a minute, so that it is there for as long as the example waits until it may be granted at all.
    python.delete(&key);
    assert!(python.add(&key, "1", 60));
    let mut example = start("room", &memcached);
    let said = says(&mut example);
    assert!(said.starts_with("room is locked; try again in "), "{said}");
    assert_eq!(example.wait().unwrap().code(), Some(1));
    assert_eq!(python.get(&key).as_deref(), Some("1"), "it is not disturbed");
}
