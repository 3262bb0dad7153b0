//! `namelock test`: scenarios that are played against a component.

use std::fs;
use std::path::PathBuf;

use namelock_test_artifacts::{ROOMS, guests};
use namelock_test_servers::Process;
use tempfile::TempDir;

/// Those that `rooms` passes in every language.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios/rooms.toml");

/// The page that says how scenarios are written.
const PAGE: &str = include_str!("../../docs/scenarios.md");

/// A directory for what is compiled, and one with a file of scenarios.
struct Folder(TempDir);

impl Folder {
    fn new(scenarios: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("scenarios")).unwrap();
        fs::write(folder.path().join("scenarios/s.toml"), scenarios).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Plays scenarios; returns the exit code, what was printed, and the last words.
    fn test(&self, component: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let cache = self.path("compiled");
        let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
        command
            .args(["test", component, "--cache", cache.to_str().unwrap()])
            .args(more);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Plays those of this folder.
    fn play(&self, component: &str) -> (Option<i32>, String, String) {
        let scenarios = self.path("scenarios");
        self.test(component, &["--scenarios", scenarios.to_str().unwrap()])
    }
}

/// A scenario with these steps.
fn scenario(name: &str, steps: &str) -> String {
    format!("[[scenario]]\nname = \"{name}\"\n{steps}\n")
}

#[test]
fn rooms_does_what_its_scenarios_say() {
    let folder = Folder::new("");
    let (code, said, log) = folder.test(ROOMS, &["--scenarios", SCENARIOS]);
    assert_eq!(code, Some(0), "{said}{log}");
    let all = fs::read_to_string(SCENARIOS).unwrap().matches("[[scenario]]").count();
    assert!(
        said.ends_with(&format!("{all} of {all} scenarios went as expected\n")),
        "{said}"
    );
}

#[test]
fn the_scenarios_of_the_page_are_played_as_they_stand_there() {
    let block = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let folder = Folder::new(block.unwrap());
    // As a directory of a tenant, too.
    fs::copy(ROOMS, folder.path("handler.wasm")).unwrap();
    let (code, said, log) = folder.test(folder.0.path().to_str().unwrap(), &[]);
    assert_eq!(code, Some(0), "{said}{log}");
    assert!(said.contains("2 of 2 scenarios"), "{said}");
    // What the page shows of a handler that does something else.
    let (code, said, _) = folder.play(guests::PLAIN);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("    expected  name_taken\n    got       201 {"), "{said}");
}

#[test]
fn what_differs_is_shown_with_its_step_and_kept_for_a_ci_server() {
    let wrong = scenario(
        "bob has it",
        "[[scenario.step]]\nregister = \"Blue\"\nowner = \"ann\"\n[[scenario.step]]\nfind = \"blue\"\nexpect = { owner = \"bob\" }\n\
         [[scenario.step]]\nfree = \"blue\"\nowner = \"nobody asks any more\"\n",
    );
    let right = scenario(
        "<ann> has it",
        "[[scenario.step]]\nregister = \"Blue\"\nowner = \"ann\"\n",
    );
    let folder = Folder::new(&(wrong + &right));
    let junit = folder.path("results.xml");
    let scenarios = folder.path("scenarios");
    let more = [
        "--scenarios",
        scenarios.to_str().unwrap(),
        "--junit",
        junit.to_str().unwrap(),
    ];
    let (code, said, last) = folder.test(ROOMS, &more);
    assert_eq!(code, Some(1), "{said}{last}");
    let failed = "bob has it (3 steps, ";
    assert!(
        said.lines()
            .any(|line| line.starts_with("FAILED ") && line.contains(failed)),
        "{said}"
    );
    let differs = "  step 2: find \"blue\"\n    expected  owner = \"bob\"\n    got       owner = \"ann\"\n";
    assert!(said.contains(differs), "{said}");
    assert!(last.contains("1 of 2 scenarios did not go as expected"), "{last}");

    let xml = fs::read_to_string(&junit).unwrap();
    for part in ["tests=\"2\"", "failures=\"1\"", "step 2: find", "&lt;ann&gt; has it"] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    let (code, said, _) = folder.test(ROOMS, &[&more[..], &["--filter", "<ann>"]].concat());
    assert!(code == Some(0) && said.contains("1 of 1 scenarios"), "{said}");
    let (code, _, last) = folder.test(ROOMS, &[&more[..], &["--filter", "eve"]].concat());
    assert!(
        code == Some(2) && last.contains("no scenario has \"eve\" in its name"),
        "{last}"
    );
}

#[test]
fn a_handler_that_two_callers_get_past_is_found() {
    // Whoever asks with another name gets it: eight callers, eight owners.
    let folder = Folder::new(&scenario(
        "one of eight has it",
        "[[scenario.step]]\nregister = \"room {n}\"\nowner = \"ann\"\ncallers = 8\n",
    ));
    let (code, said, _) = folder.play(ROOMS);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("expected  1 of 8 callers succeeds\n    got       8 succeed"),
        "{said}"
    );
    let folder = Folder::new(&scenario(
        "two ask for a room each",
        "[[scenario.step]]\nregister = \"room {n}\"\nowner = \"ann\"\ncallers = 2\nwinners = 2\n",
    ));
    let (code, said, _) = folder.play(ROOMS);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_setting_that_no_call_reads_is_found() {
    let step = "settings = { waitms = 50, wait_ms = 50 }\n[[scenario.step]]\nregister = \"red\"\nowner = \"ann\"\n";
    let folder = Folder::new(&scenario("misspelt", step));
    let (code, said, _) = folder.play(ROOMS);
    assert_eq!(code, Some(1), "{said}");
    let differs = "  settings\n    expected  a call reads the setting \"waitms\"\n    got       none does\n";
    assert!(said.contains(differs), "{said}");
    assert!(!said.contains("\"wait_ms\""), "{said}");
}

#[test]
fn files_that_are_wrong_are_refused_with_everything_that_is_wrong() {
    let wrong = ["register = \"a\"", "find = 1"].map(|step| scenario("x", &format!("[[scenario.step]]\n{step}")));
    let folder = Folder::new(&wrong.concat());
    let (code, said, last) = folder.play(ROOMS);
    assert_eq!(code, Some(2), "{said}{last}");
    for words in ["s.toml, line ", "this step needs an owner", "expected a string"] {
        assert!(last.contains(words), "{words}: {last}");
    }
    let empty = Folder::new("");
    fs::remove_file(empty.path("scenarios/s.toml")).unwrap();
    let (code, _, last) = empty.play(ROOMS);
    assert!(code == Some(2) && last.contains("there is no scenario here"), "{last}");
    let (code, _, last) = empty.test(ROOMS, &["--scenarios", "no/such/file"]);
    assert!(
        code == Some(2) && last.contains("no/such/file: cannot read this file"),
        "{last}"
    );
    let (code, _, last) = Folder::new(&scenario("x", "[[scenario.step]]\nfind = \"a\"\n")).play("no/such/file");
    assert!(
        code == Some(2) && last.contains("no/such/file: there is no such file"),
        "{last}"
    );
}
