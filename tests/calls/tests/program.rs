//! The program, with components in Rust, as `namelock-bench` drives it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use namelock_calls::told::{FirstAnswers, Held};
use namelock_test_artifacts::{ROOMS, guests};

/// Has three callers work for a moment, twice, and returns what was said first and how many calls there were.
fn calls(arguments: &[&str]) -> (FirstAnswers, [usize; 2]) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_namelock-calls"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (
        child.stdin.take().unwrap(),
        BufReader::new(child.stdout.take().unwrap()),
    );
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let first = serde_json::from_str(&line).unwrap();
    let counts = [(); 2].map(|()| {
        writeln!(input, "0.05 3").unwrap();
        line.clear();
        output.read_line(&mut line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let &[took, count, renewed] = numbers.as_slice() else {
            panic!("{line:?}");
        };
        assert!(took >= 50_000_000 && renewed == 0, "{line}");
        let mut times = vec![0; 8 * usize::try_from(count).unwrap()];
        output.read_exact(&mut times).unwrap();
        times.len() / 8
    });
    drop(input);
    assert!(child.wait().unwrap().success());
    (first, counts)
}

#[test]
fn components_are_called_in_fresh_instances() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (component, answer) in [(ROOMS, "saved"), (guests::FORGE_REGISTRATION, "made-up")] {
        let (first, counts) = calls(&["fresh", component, answer, folder]);
        assert!(first.kept_ms.unwrap() < first.compiled_ms, "{first:?}");
        assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
    }
}

#[test]
fn components_are_called_in_instances_that_are_reused() {
    for component in [ROOMS, guests::FORGE_REGISTRATION] {
        let (first, counts) = calls(&["reused", component]);
        assert_eq!(first.kept_ms, None);
        assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
    }
}

#[test]
fn calls_that_are_held_have_memory_of_their_own_and_of_their_guests() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_namelock-calls"))
        .args(["hold", ROOMS, folder.path().to_str().unwrap(), "40"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let held: Held = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(held.calls, 40);
    // Two pages of 64 KiB, of which not all is written.
    assert!((4.0..=128.0).contains(&held.own_kib), "{held:?}");
    assert!((4.0..1024.0).contains(&held.above_kib), "{held:?}");
}
