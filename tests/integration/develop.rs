//! What the author of a handler uses without a server: `namelock check` and `namelock run`.

use std::fs;
use std::path::Path;
use std::process::Output;

use namelock_test_artifacts::{ROOMS, guests, wants_http};
use namelock_test_servers::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs the command; no configuration of this machine reaches it.
fn namelock(arguments: &[&str]) -> Output {
    let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    command.args(arguments).output().unwrap()
}

/// The code with which it ended, what it printed, and its last words.
fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn check(path: &Path) -> (Option<i32>, String, String) {
    ended(&namelock(&["check", "--no-compile", path.to_str().unwrap()]))
}

/// A directory of a tenant with these files.
fn tenant(component: &[u8], toml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handler.wasm"), component).unwrap();
    if !toml.is_empty() {
        fs::write(folder.path().join("tenant.toml"), toml).unwrap();
    }
    folder
}

#[test]
fn what_a_host_would_refuse_is_said_with_the_words_that_mend_it() {
    let rooms = fs::read(ROOMS).unwrap();
    let wasi_0_3 = {
        // The version is text of the same length everywhere.
        let http = wants_http();
        let (from, to) = (b"@0.2.0".as_slice(), b"@0.3.0".as_slice());
        let at = http.windows(from.len()).position(|window| window == from).unwrap();
        [&http[..at], to, &http[at + to.len()..]].concat()
    };
    let cases: [(&[u8], &str, &[&str]); 8] = [
        (b"(component)", "", &["is no WebAssembly binary"]),
        (b"\0asm\x01\0\0\0", "", &["is a core module", "wasm32-wasip2"]),
        (&rooms[..5000], "", &["is not a valid component"]),
        (
            &fs::read(guests::NO_EXPORT).unwrap(),
            "",
            &["exports no namelock:registration/handler@0.1"],
        ),
        (
            &wants_http(),
            "",
            &["wasi:http/outgoing-handler@0.2.0", "disableFeatures"],
        ),
        (&wasi_0_3, "", &["@0.3.0", "wasm32-wasip2"]),
        (
            &rooms,
            "limits.component = '64KiB'",
            &["is longer than 65536 bytes", "limits.component"],
        ),
        // Everything at once.
        (
            &rooms,
            "limits.memory = '64 parsecs'\nnamespace = 'other'\ncolour = 1\n[names]\nhold_ms = 99999999999999",
            &["limits.memory", "namespace", "colour", "hold_ms"],
        ),
    ];
    for (component, toml, expect) in cases {
        let folder = tenant(component, toml);
        let (code, said, last) = check(folder.path());
        assert_eq!(code, Some(1), "{expect:?}: {said}{last}");
        for words in expect {
            let refused = |line: &str| line.starts_with("refused: ") && line.contains(words);
            assert!(said.lines().any(refused), "{words}: {said}");
        }
        assert!(
            last.starts_with("namelock: ") && last.contains(" would be refused, for "),
            "{last}"
        );
        assert!(!said.contains("it fits"), "{said}");
    }
    // The tenant's own limit, not that of the host.
    let folder = tenant(&rooms, "limits.memory = '128KiB'");
    let (code, said, _) = check(folder.path());
    assert!(code == Some(1) && said.contains("and 131072 are allowed"), "{said}");
    // A directory that a host would skip.
    let odd = folder.path().join("Odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("handler.wasm"), &rooms).unwrap();
    let (code, said, _) = check(&odd);
    assert!(
        code == Some(0) && said.contains("warning: a host that finds this directory"),
        "{said}"
    );
    let (code, said, last) = check(Path::new("no/such/file"));
    assert_eq!(code, Some(1), "{said}{last}");
    assert!(said.contains("refused: cannot read no/such/file"), "{said}");
}

#[test]
fn a_component_that_fits_is_compiled_and_its_limits_are_shown() {
    let output = namelock(&["check", "--json", ROOMS]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["fits"]),
        (Some(0), &json!(true)),
        "{report}"
    );
    assert_eq!((&report["problems"], &report["warnings"]), (&json!([]), &json!([])));
    let exports = report["exports"].as_array().unwrap();
    assert!(
        exports.contains(&json!("namelock:registration/handler@0.1.1")),
        "{report}"
    );
    let limits = report["limits"].as_array().unwrap();
    for limit in ["limits.component (bytes)", "core instances", "limits.artifact (bytes)"] {
        let used = limits.iter().find(|used| used["limit"] == limit).unwrap();
        assert!(
            used["has"].as_u64() > Some(0) && used["has"].as_u64() < used["most"].as_u64(),
            "{used}"
        );
    }
    let (code, said, _) = check(Path::new(ROOMS));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("it was not compiled"), "{said}");
}

#[test]
fn a_call_is_run_in_the_circumstances_that_were_chosen() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().join("compiled");
    let run = |component: &str, more: &[&str]| {
        let first = ["run", component, "--owner", "ann", "--cache", cache.to_str().unwrap()];
        ended(&namelock(&[&first, more].concat()))
    };
    let (code, said, log) = run(
        ROOMS,
        &["--name", "Blue", "--lifetime-ms", "60000", "--attribute", "floor=2"],
    );
    assert_eq!(code, Some(0), "{said}{log}");
    let registration: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let saved = json!({ "name": "blue", "owner": "ann", "attributes": { "floor": "2" } });
    for (member, value) in saved.as_object().unwrap() {
        assert_eq!(&registration[member], value);
    }
    for words in ["took ", "guest ", "find ", "save ", "memory ", "limits.leases "] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let changed = ["--name", "blue", "--taken", "ann", "--update", r#"{"new_owner":"bob"}"#];
    let (code, said, _) = run(ROOMS, &changed);
    assert!(code == Some(0) && said.contains(r#""owner":"bob""#), "{said}");
    let (code, said, _) = run(ROOMS, &["--name", "blue", "--taken", "ann", "--free"]);
    assert!(code == Some(0) && said.starts_with(r#"{"freed":"blue"}"#), "{said}");

    for (circumstances, expect) in [
        (&["--taken"][..], "409 name_taken: "),
        (&["--taken", "bob", "--free"], "403 forbidden: "),
        (&["--held"], "423 name_busy: "),
        (&["--lock-down"], "503 lock_unavailable: "),
        (&["--names-down"], "503 names_unavailable: "),
        (&["--latency", "400", "--lose-lease-after", "30"], "503 lease_lost: "),
        (&["--update", r#"{"lifetime_ms":null}"#], "404 not_found: "),
    ] {
        let (code, said, last) = run(ROOMS, &[&["--name", "blue"], circumstances].concat());
        assert!(
            code == Some(1) && said.starts_with(expect),
            "{circumstances:?}: {said}{last}"
        );
        assert!(last.contains("the call ended with "), "{last}");
    }
    let (code, said, log) = run(guests::TRAP_HOLDING_LEASE, &["--name", "a"]);
    assert!(code == Some(1) && said.starts_with("500 handler_trapped: "), "{said}");
    assert!(log.contains("the call broke down: wasm trap"), "{log}");

    let (code, _, last) = run(ROOMS, &["--name", "a", "--update", "[]"]);
    assert!(
        code == Some(2) && last.contains("--update: this is no JSON object"),
        "{last}"
    );
}

#[test]
fn a_path_at_which_there_is_nothing_is_bad_usage() {
    for command in [&["run", "none", "--name=a", "--owner=b"][..], &["test", "none"]] {
        let (code, said, last) = ended(&namelock(command));
        assert_eq!((code, said.as_str()), (Some(2), ""), "{last}");
        assert!(
            last.starts_with("namelock: none: there is no such file or directory"),
            "{last}"
        );
    }
    let folder = tenant(&fs::read(ROOMS).unwrap(), "");
    let (code, _, last) = ended(&namelock(&["test", folder.path().to_str().unwrap()]));
    assert!(
        code == Some(2) && last.contains("there is no directory scenarios here"),
        "{last}"
    );
}

#[test]
fn a_process_that_is_limited_itself_compiles_within_its_limit() {
    // Less than `compiler.memory`.
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "ulimit -v 1900000 && exec {} run {ROOMS} --name a --owner ann --cache {}",
        env!("CARGO_BIN_EXE_namelock"),
        folder.path().join("compiled").display()
    );
    let output = Process::command("sh", "it is part of the platform")
        .args(["-c", &script])
        .output()
        .unwrap();
    let (code, said, log) = ended(&output);
    assert_eq!(code, Some(0), "{said}{log}");
}
