//! A call that failed, or that `namelock run` has recorded, is run again: without its services, and with the same end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::{Process, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{Builder, Host, LONG_LEASES};

/// How long a machine that is slow and busy may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A tenant whose failures are recorded, and whose calls have all the time that a machine may need which is slow and busy.
const RECORDED: &str = r#"
    record = "failures"
    [settings]
    colour = "blue"
    [limits]
    memory = "16MiB"
    host_calls = 1000
    cpu_time = "30s"
    wall_time = "5m"
"#;

/// The directory of a machine on which nothing is but the program, with a cache of its own.
struct Elsewhere(TempDir);

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Elsewhere {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, component: &str, more: &[&str]) -> Said {
        let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
        command
            .current_dir(self.0.path())
            .args(["run", component, "--cache", "compiled"]);
        let output = command.args(more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Said {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    fn replay(&self, component: &str, recording: &Path) -> Said {
        self.run(component, &["--replay", recording.to_str().unwrap()])
    }

    /// Replays a recording, which goes as recorded and prints this first.
    fn repeats(&self, component: &str, recording: &Path, first: &str) -> Said {
        let said = self.replay(component, recording);
        assert_eq!(said.code, Some(0), "{first}: {}{}", said.out, said.err);
        assert!(said.out.starts_with(first), "{first}: {}", said.out);
        assert!(said.out.contains("outcome and log are as recorded"), "{}", said.out);
        said
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A host with this in its section `record`, and tenants that run `fail_as_named`: `t`, and two whose time is soon over.
fn host(record: &str, toml: &str) -> Host {
    let host = Builder::new()
        .config(&format!("[record]\ndir = 'recordings'\n{record}\n{LONG_LEASES}"))
        .tenant("t", guests::FAIL_AS_NAMED, toml)
        .tenant("cpu", guests::FAIL_AS_NAMED, &toml.replace("30s", "100ms"))
        .tenant("wall", guests::FAIL_AS_NAMED, &toml.replace("5m", "2s"))
        .start();
    host.wait_until_ready();
    host
}

/// Waits until a tenant has a recording that is not one of these: nobody waits for it before the answer is given.
fn new_recording(host: &Host, tenant: &str, before: &[PathBuf]) -> PathBuf {
    let mut new = None;
    let is_kept = || {
        new = recordings(host, tenant).into_iter().find(|path| !before.contains(path));
        new.is_some()
    };
    assert!(wait_until(PATIENCE, is_kept), "{tenant}: {}", host.log());
    new.unwrap()
}

/// The recordings of a tenant, the oldest first.
fn recordings(host: &Host, tenant: &str) -> Vec<PathBuf> {
    let Ok(all) = fs::read_dir(host.tenant(tenant).join("../../recordings").join(tenant)) else {
        return Vec::new();
    };
    let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
    all.retain(|path: &PathBuf| path.extension().is_some_and(|ending| ending == "json"));
    all.sort();
    all
}

/// The lines that a tenant's handler wrote in a text of this log.
fn guest_lines(log: &str) -> Vec<String> {
    let line = |line: &str| {
        let (_, said) = line.split_once("guest: ")?;
        Some(said.split(" tenant=").next().unwrap_or(said).to_owned())
    };
    log.lines().filter_map(line).collect()
}

#[tokio::test]
async fn a_call_that_failed_on_a_host_is_replayed_elsewhere() {
    let host = host("", RECORDED);
    let elsewhere = Elsewhere::new();
    let attributes = json!({ "colour": "dark red", "dark red": "x", "from": "annabel@example.org" });
    for (tenant, name, code) in [
        ("t", "trap", "500 handler_trapped"),
        ("cpu", "spin", "504 handler_deadline"),
        ("wall", "sleep", "504 handler_deadline"),
        ("t", "watch", "429 tenant_limit"),
        ("t", "grow", "500 handler_out_of_memory"),
        ("t", "give up", "503 tenant_unavailable"),
    ] {
        let before = recordings(&host, tenant);
        let request = json!({ "name": name, "owner": "annabel@example.org", "attributes": attributes });
        let answer = host.post_json(tenant, &request).await;
        let (status, kind) = code.split_once(' ').unwrap();
        assert_eq!(answer.status.as_str(), status, "{name}: {:?}", answer.body);
        if name == "watch" {
            // A limit of the tenant is no failure of the handler; were it kept, the next one would not be the only new one.
            continue;
        }
        let file = &new_recording(&host, tenant, &before);
        assert!(file.to_str().unwrap().contains(kind), "{file:?}");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

        let text = fs::read_to_string(file).unwrap();
        for said in ["annabel", "example.org", "dark red"] {
            assert!(!text.contains(said), "{said}: {text}");
        }
        let recording: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&recording["version"], &recording["owners"]),
            (&json!(1), &json!("pseudonyms"))
        );
        let sent = &recording["request"]["register"];
        assert_eq!(sent["owner"], "owner-1............", "of the same length");
        assert!(text.contains("owner-1............ finds None"), "{text}");
        assert_eq!(sent["attributes"].as_array().unwrap().len(), 3);

        let said = elsewhere.repeats(guests::FAIL_AS_NAMED, file, &format!("{code}: "));
        let lines = recording["log"].as_array().unwrap();
        assert!(lines.len() >= 5, "{lines:?}");
        for line in lines {
            assert!(said.err.contains(line.as_str().unwrap()), "{line}: {}", said.err);
        }
    }
    // Where nothing was the handler's doing, nothing is recorded.
    let before = recordings(&host, "t").len();
    assert_eq!(host.post("t", "do", "ann").await.status, 201);
    assert_eq!(recordings(&host, "t").len(), before);
}

// What a handler prints of an owner or of an attribute has every form that a language gives it, and lines are cut anywhere.
#[tokio::test]
async fn nothing_that_a_handler_has_said_of_a_person_is_kept() {
    let host = host("rate = 1000", RECORDED);
    let elsewhere = Elsewhere::new();
    let straddles = format!("{}annabel", "x".repeat(160));
    let long: String = (0..120).map(|number| format!("diagnosis{number} ")).collect();
    for (name, owner, attributes, secrets) in [
        ("a", "annabel\nbobby", json!({}), &["annabel", "bobby"][..]),
        ("b", "o\"brien\u{301}", json!({}), &["brien"]),
        ("c", "en", json!({}), &[]),
        ("trap", "trap", json!({ "floor": "1", "None": "at" }), &[]),
        (
            "d",
            "42",
            json!({ "color": "red", "primary": "color", "value-2": "xx", "é é": "yy" }),
            &["é é"],
        ),
        (
            "e",
            straddles.as_str(),
            json!({ "medical": long }),
            &["annabel", "diagnosis"],
        ),
    ] {
        let before = recordings(&host, "t");
        let request = json!({ "name": name, "owner": owner, "attributes": attributes });
        assert_eq!(host.post_json("t", &request).await.status, 500);
        let file = new_recording(&host, "t", &before);
        let text = fs::read_to_string(&file).unwrap();
        for secret in secrets {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let finds = "owner-1".to_owned() + &".".repeat(owner.len().saturating_sub(7)) + " finds None";
        assert!(text.contains(&finds), "{finds}: {text}");
        elsewhere.repeats(guests::FAIL_AS_NAMED, &file, "500 handler_trapped: ");
    }
    // The second run is nobody's: the log has the lines of the first one alone.
    let finds = guest_lines(&host.log())
        .into_iter()
        .filter(|line| line.contains("finds None"));
    assert_eq!(finds.count(), 6, "{}", host.log());
}

#[tokio::test]
async fn a_call_that_goes_another_way_with_pseudonyms_is_not_kept() {
    let host = Builder::new()
        .config(&format!("[record]\ndir = 'recordings'\n{LONG_LEASES}"))
        .tenant("t", guests::SLEEP_HOLDING_LEASE, &RECORDED.replace("5m", "2s"))
        .start();
    host.wait_until_ready();
    let request = json!({ "name": "a", "owner": "ann", "attributes": { "hold_ms": "600000" } });
    assert_eq!(host.post_json("t", &request).await.status, 504);
    let is_told = || {
        host.log()
            .contains("with pseudonyms for owners and attributes its handler does something else")
    };
    assert!(wait_until(PATIENCE, is_told), "{}", host.log());
    assert!(recordings(&host, "t").is_empty());
}

#[tokio::test]
async fn what_is_not_as_recorded_is_told() {
    let host = host("owners = true", RECORDED);
    host.post("t", "trap", "annabel").await;
    let file = new_recording(&host, "t", &[]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("\"owners\": \"kept\"") && text.contains("annabel"),
        "{text}"
    );
    let elsewhere = Elsewhere::new();
    let said = elsewhere.repeats(guests::FAIL_AS_NAMED, &file, "500 handler_trapped: ");
    let on_the_host = guest_lines(&host.log());
    assert_eq!(guest_lines(&said.err), on_the_host, "{}", said.err);
    assert!(!said.out.contains("component is another one"), "{}", said.out);

    let said = elsewhere.replay(guests::PANIC_HOLDING_LEASE, &file);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(
        said.out.contains("component is another one than was recorded"),
        "{}",
        said.out
    );
    assert!(said.err.contains("the replay is not as recorded"), "{}", said.err);
    let said = elsewhere.replay(guests::LIST_NAMES, &file);
    let asked = "the component asked `list \"trap\"` where `acquire \"trap\"` was recorded";
    assert!(
        said.code == Some(1) && said.out.contains(asked),
        "{}{}",
        said.out,
        said.err
    );

    let other = elsewhere.file("other.json");
    let refused = |from: &str, to: &str, expect: &str, code| {
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&other, text.replacen(from, to, 1)).unwrap();
        let said = elsewhere.replay(guests::FAIL_AS_NAMED, &other);
        assert!(
            said.code == Some(code) && (said.out + &said.err).contains(expect),
            "{expect}: {}",
            said.err
        );
    };
    refused("annabel finds None", "bob finds None", "line 3 of the log is", 1);
    refused(
        "handler_trapped",
        "lease_lost",
        "ended with handler_trapped, and the recorded one with lease_lost",
        1,
    );
    refused("\"version\": 1", "\"version\": 2", "it has version 2 of recordings", 2);
    refused(
        "\"seed\": \"",
        "\"seed\": \"x",
        "its seed is not 64 hexadecimal digits",
        2,
    );
    refused("\"outcome\"", "\"end\"", "it is not a recording of a call", 2);
    refused(
        "\"memory\": ",
        "\"memory\": 99999",
        "its limits are not those of a host",
        2,
    );
    refused("\"stack\": ", "\"stack\": 9", "a stack has 65536 to 8388608 bytes", 2);
    refused(
        "\"code\": \"handler_trapped",
        "\"code\": \"\\u001b[31m\\nreplayed",
        "and the recorded one with \\u{1b}[31m\\nreplayed",
        1,
    );
    let said = elsewhere.replay(guests::FAIL_AS_NAMED, Path::new("/dev/zero"));
    assert!(
        said.code == Some(2) && said.err.contains("the longest recording"),
        "{}",
        said.err
    );
    let said = elsewhere.replay(guests::FAIL_AS_NAMED, Path::new("none.json"));
    assert!(
        said.code == Some(2) && said.err.contains("cannot use none.json"),
        "{}",
        said.err
    );
    let both = ["--replay", file.to_str().unwrap(), "--name", "a"];
    assert_eq!(elsewhere.run(guests::FAIL_AS_NAMED, &both).code, Some(2));
    let said = elsewhere.run(guests::FAIL_AS_NAMED, &["--owner", "ann"]);
    assert!(
        said.code == Some(2) && said.err.contains("--name <NAME>"),
        "{}",
        said.err
    );
}

// Shows P6: recordings of a tenant take no more memory and no more of the disk than they may.
#[tokio::test]
async fn bounds_of_recordings_hold() {
    let host = host("size = '16KiB'\nfiles = 2\nrate = 1000", RECORDED);
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        assert_eq!(host.post("t", name, "ann").await.status, 500);
        all.push(new_recording(&host, "t", &all));
    }
    assert_eq!(
        (all.len(), recordings(&host, "t")),
        (3, all[1..].to_vec()),
        "the oldest is gone"
    );
    let long = json!({ "name": "d", "owner": "ann", "attributes": { "text": "x".repeat(4000) } });
    assert_eq!(host.post_json("t", &long).await.status, 500);
    let is_told = || host.log().contains("its recording is longer than record.size");
    assert!(wait_until(PATIENCE, is_told), "{}", host.log());
    assert_eq!(recordings(&host, "t"), all[1..]);
}

#[tokio::test]
async fn a_tenant_that_does_not_ask_for_it_is_not_recorded() {
    let host = host("", &RECORDED.replace("record = \"failures\"", ""));
    assert_eq!(host.post("t", "trap", "ann").await.status, 500);
    assert!(recordings(&host, "t").is_empty());
    let elsewhere = Elsewhere::new();
    let toml = elsewhere.file("tenant.toml");
    fs::write(&toml, "record = \"everything\"").unwrap();
    fs::copy(guests::PLAIN, elsewhere.file("handler.wasm")).unwrap();
    let said = elsewhere.run(".", &["--name", "a", "--owner", "ann"]);
    assert!(said.code == Some(1) && said.err.contains("failures"), "{}", said.err);
}

#[test]
fn what_run_has_recorded_is_replayed_in_all_circumstances() {
    let elsewhere = Elsewhere::new();
    let file = elsewhere.file("call.json");
    for (circumstances, first) in [
        (&["--name", "Blue", "--attribute", "floor=2"][..], "{\""),
        (&["--name", "blue", "--taken"], "409 name_taken: "),
        (&["--name", "blue", "--taken", "bob", "--free"], "403 forbidden: "),
        (&["--name", "blue", "--taken", "ann", "--free"], "{\"freed\":\"blue\"}"),
        (
            &["--name", "blue", "--taken", "ann", "--update", r#"{"new_owner":"bob"}"#],
            "{\"",
        ),
        (
            &["--name", "blue", "--update", r#"{"lifetime_ms":null}"#],
            "404 not_found: ",
        ),
        (&["--name", "blue", "--held"], "423 name_busy: "),
        (&["--name", "blue", "--lock-down"], "503 lock_unavailable: "),
        (&["--name", "blue", "--names-down"], "503 names_unavailable: "),
        (
            &["--name", "blue", "--latency", "400", "--lose-lease-after", "30"],
            "503 lease_lost: ",
        ),
        (&["--name", "b\u{7}"], "422 name_invalid: "),
    ] {
        let record = ["--owner", "ann", "--record", "call.json"];
        let recorded = elsewhere.run(ROOMS, &[&record[..], circumstances].concat());
        assert!(
            recorded.out.starts_with(first),
            "{circumstances:?}: {}{}",
            recorded.out,
            recorded.err
        );
        assert!(recorded.out.contains("recorded  call.json, "), "{}", recorded.out);
        let replayed = elsewhere.repeats(ROOMS, &file, first);
        assert_eq!(
            replayed.out.lines().next(),
            recorded.out.lines().next(),
            "{circumstances:?}"
        );
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // What is said of a handler afterwards belongs to it.
    let forged = ["--name", "a", "--owner", "ann", "--record", "call.json"];
    elsewhere.run(guests::FORGE_REGISTRATION, &forged);
    elsewhere.repeats(guests::FORGE_REGISTRATION, &file, "500 handler_trapped: ");
    let nowhere = [
        "--name",
        "a",
        "--owner",
        "ann",
        "--record",
        "no/such/directory/call.json",
    ];
    let said = elsewhere.run(ROOMS, &nowhere);
    assert!(
        said.code == Some(2) && said.err.contains("--record: cannot write"),
        "{}",
        said.err
    );
    assert!(said.out.is_empty(), "it was not called: {}", said.out);
    // What is no file is not replaced by one.
    std::os::unix::net::UnixListener::bind(elsewhere.file("socket")).unwrap();
    let said = elsewhere.run(ROOMS, &["--name", "a", "--owner", "ann", "--record", "socket"]);
    assert!(
        said.code == Some(2) && said.err.contains("no regular file"),
        "{}",
        said.err
    );
    assert!(!fs::metadata(elsewhere.file("socket")).unwrap().is_file());
}
