//! What a tenant keeps is written to a file and put back.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use namelock_test_servers::Postgres;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::fixture::{Builder, Host};

/// Runs `namelock names`; tells its exit code, and what it printed on both outputs.
fn names(arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
    command.arg("names").args(arguments);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // One that is refused early closes it.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), said.concat())
}

#[track_caller]
fn done(arguments: &[&str], input: &[u8]) -> String {
    let (code, said) = names(arguments, input);
    assert_eq!(code, Some(0), "{said}");
    said
}

#[track_caller]
fn refused(arguments: &[&str], input: &[u8], code: i32, why: &str) {
    let (found, said) = names(arguments, input);
    assert!(found == Some(code) && said.contains(why), "{found:?}: {said}");
}

/// An export of so many names of `demo`, as if it came from elsewhere.
fn export_of(count: u32) -> String {
    let mut text = concat!(
        r#"{"format":"namelock-names","version":1,"tenant":"demo","time_ms":1790000000000}"#,
        "\n"
    )
    .to_owned();
    for number in 0..count {
        text.push_str(&format!(
            "{{\"name\":\"name {number:06}\",\"owner\":\"ann\",\"created_ms\":1790000000000,\"fencing_token\":{number}}}\n"
        ));
    }
    ended(&text)
}

/// The same with its last line.
fn ended(text: &str) -> String {
    let records = text.lines().count() - 1;
    let sha256: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text}{{\"end\":{{\"records\":{records},\"sha256\":\"{sha256}\"}}}}\n")
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sqlite(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn host(url: &str) -> Host {
    Builder::new().demo().names_url(url).start()
}

/// Registers with one database, and goes on with another.
async fn moves(from: &str, to: &str) {
    let files = Files::new();
    let host_of = host;
    let host = host_of(from);
    let keyed = json!({ "name": "sea", "owner": "ann", "attributes": { "view": "\u{0}é" } });
    let first = host.post_keyed("demo", "k", &keyed).await;
    assert_eq!(first.status, 201, "{:?}", first.body);
    assert_eq!(host.post("demo", "hill", "bob").await.status, 201);
    assert_eq!(host.delete("demo", "hill", "bob").await.status, 204);
    let file = files.path("demo.jsonl");
    let said = done(&["export", "--names", from, "demo", "--output", text(&file)], b"");
    assert!(said.contains("exported 2 names of demo"), "{said}");
    // The host goes on; what it writes from here on is not in the file.
    assert_eq!(host.post("demo", "late", "eve").await.status, 201);
    let to_file = ["export", "--names", from, "demo", "--output", text(&file)];
    refused(&to_file, b"", 2, "--force");
    let import = ["import", "--names", to, "demo", "--input", text(&file)];
    let said = done(&import, b"");
    assert!(said.contains("2 names of demo are imported"), "{said}");
    let said = done(&import, b"");
    assert!(
        said.contains("0 names of demo are imported") && said.contains("2 were left"),
        "{said}"
    );
    let exported = fs::read_to_string(&file).unwrap();
    let again = files.path("again.jsonl");
    done(&["export", "--names", to, "demo", "--output", text(&again)], b"");
    let without_first = |text: &str| text.lines().skip(1).take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        without_first(&fs::read_to_string(&again).unwrap()),
        without_first(&exported)
    );

    let other = host_of(to);
    assert_eq!(other.get("demo", "sea").await.body, first.body);
    other.get("demo", "late").await.is_problem(404, "not_found");
    let replayed = other.post_keyed("demo", "k", &keyed).await;
    assert!(
        replayed.is_replayed() && replayed.body == first.body,
        "{:?}",
        replayed.body
    );
    other.post("demo", "sea", "eve").await.is_problem(409, "name_taken");
    assert_eq!(other.delete("demo", "sea", "ann").await.status, 204);
    assert_eq!(other.post("demo", "hill", "eve").await.status, 201);
    // A backup of before: nothing of what was written since is undone.
    let said = done(&import, b"");
    assert!(said.contains("0 names of demo are imported"), "{said}");
    assert_eq!(other.get("demo", "hill").await.body["owner"], "eve");
    other.get("demo", "sea").await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_tenant_goes_on_in_another_database() {
    let (files, server, other) = (Files::new(), Postgres::start(), Postgres::start());
    moves(&files.sqlite("one.db"), &server.url()).await;
    moves(&other.url(), &files.sqlite("two.db")).await;
}

#[test]
fn a_broken_line_in_the_middle_is_named_and_nothing_is_imported_twice() {
    let (files, server) = (Files::new(), Postgres::start());
    let whole = export_of(5000);
    let broken = whole.replace("\"name 002500\",\"owner\"", "\"name 002500\",\"own");
    let file = files.write("broken.jsonl", &broken);
    for url in [files.sqlite("names.db"), server.url()] {
        let import = ["import", "--names", &url, "demo", "--input", text(&file)];
        // A file is read to its end first.
        refused(&import, b"", 1, "broken.jsonl, line 2502: ");
        refused(&import, b"", 1, "; nothing is imported");
        let stdin = ["import", "--names", &url, "demo"];
        refused(&stdin, broken.as_bytes(), 1, "standard input, line 2502: ");
        refused(&stdin, broken.as_bytes(), 1, "the first 2000 names are imported");
        let said = done(&stdin, whole.as_bytes());
        assert!(
            said.contains("3000 names of demo are imported") && said.contains("2000 were left"),
            "{said}"
        );
        let exported = done(&["export", "--names", &url, "demo"], b"");
        assert_eq!(exported.matches("\"name\":").count(), 5000);
    }
}

#[test]
fn an_import_that_was_killed_anywhere_goes_on_by_the_same_command() {
    let (files, server) = (Files::new(), Postgres::start());
    let file = files.write("demo.jsonl", &export_of(20_000));
    for url in [files.sqlite("names.db"), server.url()] {
        let import = ["import", "--names", &url, "demo", "--input", text(&file)];
        let mut command = Command::new(env!("CARGO_BIN_EXE_namelock"));
        command
            .arg("names")
            .args(import)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Once something is there, whatever it is just doing; it may be done by then.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while names(&["export", "--names", &url, "demo"], b"").0 != Some(0) {
            assert!(std::time::Instant::now() < deadline, "nothing is imported");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let said = done(&import, b"");
        assert!(said.contains("names of demo are imported"), "{said}");
        let exported = done(&["export", "--names", &url, "demo"], b"");
        assert_eq!(exported.matches("\"name\":").count(), 20_000);
        let said = done(&import, b"");
        assert!(said.contains("0 names of demo are imported"), "{said}");
    }
}

#[test]
fn what_is_no_export_of_this_tenant_for_this_database_is_refused() {
    let (files, server) = (Files::new(), Postgres::start());
    let url = files.sqlite("names.db");
    let whole = export_of(3);
    let import = ["import", "--names", &url, "demo"];
    refused(&import, b"", 1, "standard input, line 1: ");
    refused(&import, b"{}\n", 1, "no export of names");
    let newer = whole.replace("\"version\":1", "\"version\":7");
    refused(&import, newer.as_bytes(), 1, "this is version 7 of an export");
    refused(&import, &whole.as_bytes()[..whole.len() - 20], 1, "cut off");
    refused(
        &["import", "--names", &url, "other"],
        whole.as_bytes(),
        1,
        "pass --from",
    );
    refused(&["import", "--names", &url, "No Id"], whole.as_bytes(), 2, "No Id");
    refused(
        &["import", "--names", &url, "demo", "--input", "/no/file"],
        b"",
        1,
        "cannot read /no/file",
    );
    refused(
        &["import", "--names", &url, "demo", "--input", "/dev/null"],
        b"",
        2,
        "it is no file",
    );
    refused(
        &["import", "--names", "mysql://x", "demo"],
        whole.as_bytes(),
        2,
        "names",
    );
    refused(
        &["import", "--names", "postgres://127.0.0.1:1/x", "demo"],
        whole.as_bytes(),
        1,
        "127.0.0.1:1",
    );
    // Nothing was imported by any of them, and a file that is not there is not made.
    refused(
        &["export", "--names", &url, "demo"],
        b"",
        1,
        "keeps nothing of the tenant demo",
    );
    refused(
        &["export", "--names", &files.sqlite("none.db"), "demo"],
        b"",
        2,
        "there is no file",
    );
    assert!(!files.path("none.db").exists());
    let said = done(&["import", "--names", &url, "demo", "--dry-run"], whole.as_bytes());
    assert!(said.contains("nothing is wrong with it; 3 names"), "{said}");
    refused(&["export", "--names", &url, "demo"], b"", 1, "keeps nothing");
    done(
        &["import", "--names", &url, "other", "--from", "demo"],
        whole.as_bytes(),
    );
    let no_folder = files.path("no/folder.jsonl");
    refused(
        &["export", "--names", &url, "other", "--output", text(&no_folder)],
        b"",
        1,
        "name a file in a folder",
    );
    let exported = done(&["export", "--names", &url, "other"], b"");
    assert!(
        exported.starts_with(r#"{"format":"namelock-names","version":1,"tenant":"other""#),
        "{exported}"
    );

    // Databases of a newer version of this program.
    let raw = rusqlite::Connection::open(files.path("names.db")).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    refused(&["export", "--names", &url, "other"], b"", 1, "version 99");
    refused(&import, whole.as_bytes(), 1, "use a newer namelock");
    done(&["import", "--names", &server.url(), "demo"], whole.as_bytes());
    let newer = server.ask("INSERT INTO namelock_schema VALUES (99) RETURNING version");
    assert_eq!(newer.as_deref(), Some("99"));
    for command in ["export", "import"] {
        refused(
            &[command, "--names", &server.url(), "demo"],
            whole.as_bytes(),
            1,
            "version 99",
        );
    }
}

#[test]
fn a_disk_that_is_full_leaves_no_half_of_an_export() {
    let files = Files::new();
    let url = files.sqlite("names.db");
    done(&["import", "--names", &url, "demo"], export_of(3).as_bytes());
    // What is no file is not replaced by one.
    let folder = text(files.0.path());
    refused(
        &["export", "--names", &url, "demo", "--output", folder, "--force"],
        b"",
        2,
        "it is no file",
    );
    let mut full = Command::new("sh");
    full.arg("-c").arg(format!(
        "{} names export --names {url} demo >/dev/full",
        env!("CARGO_BIN_EXE_namelock")
    ));
    let output = full.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("cannot write standard output"),
        "{said}"
    );
}
