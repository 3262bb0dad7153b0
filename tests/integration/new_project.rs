//! What a newcomer types: `namelock new`, and then the commands of the project's README, in their order.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use namelock_test_artifacts::ROOMS;
use namelock_test_servers::{Process, wait_until_ready};
use tempfile::TempDir;

use crate::fixture::DEADLINE;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What is made once, and not by every test: the dependencies in Rust, and components that were compiled.
const TARGET_DIR: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/new-project");
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/namelock-cache");

/// What the cargo that runs this test says about building for this machine.
const NOT_FOR_GUESTS: [&str; 5] = [
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// Compiling a language's runtime takes long on a machine that has other things to do.
const PATIENT: &str = "[compiler]\ncpu_time = '1h'\nwall_time = '1h'\n";

/// A directory in which somebody has typed `namelock new codes`.
struct Newcomer {
    folder: TempDir,
    /// Where programs are looked for before the rest of PATH.
    bin: PathBuf,
}

impl Newcomer {
    fn new(language: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_namelock"), bin.join("namelock")).unwrap();
        fs::write(folder.path().join("patient.toml"), PATIENT).unwrap();
        fs::create_dir(folder.path().join("here")).unwrap();
        let newcomer = Self { folder, bin };
        let made = newcomer.succeeds(&format!("namelock new codes --lang {language}"));
        assert!(made.contains("next:\n"), "{made}");
        newcomer
    }

    /// One with a project in Rust whose source is going to change. Its package has this name: cargo takes packages of one name in
    /// one target directory for each other, if their files are older than what was built last.
    fn with_package(name: &str) -> Self {
        let newcomer = Self::new("rust");
        for file in ["Cargo.toml", "Cargo.lock"] {
            let path = newcomer.project().join(file);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("name = \"handler\"", &format!("name = \"{name}\""))).unwrap();
        }
        newcomer
    }

    fn here(&self) -> PathBuf {
        self.folder.path().join("here")
    }

    fn project(&self) -> PathBuf {
        self.here().join("codes")
    }

    /// A program of this name, which is this script.
    fn program(&self, name: &str, script: &str) {
        let path = self.bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A shell that runs a command as it is typed.
    fn shell(&self, line: &str) -> Command {
        let mut command = Process::command("sh", "it is part of the platform");
        command.args(["-c", line]).current_dir(self.here());
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{ROOT}/target/node/bin:{path}", self.bin.display()));
        command
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", TARGET_DIR);
        for name in NOT_FOR_GUESTS {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command as it is typed.
    fn types(&self, line: &str) -> Output {
        self.shell(line).output().unwrap()
    }

    /// Runs it where nothing is installed but this.
    fn types_alone(&self, line: &str) -> Output {
        self.types(&format!("PATH={} {line}", self.bin.display()))
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        let output = self.types(line);
        let (said, log) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{line}: {}\n{said}{log}", output.status);
        said
    }

    /// The commands of the n-th block of the README, without their comments.
    fn readme(&self, block: usize) -> Vec<String> {
        let text = fs::read_to_string(self.project().join("README.md")).unwrap();
        let block = text.split("```sh\n").nth(block + 1).unwrap();
        let lines = block.split("```").next().unwrap().lines();
        lines
            .map(|line| line.split("  # ").next().unwrap().trim_end().to_owned())
            .collect()
    }

    /// Types what the README says, from the first test to the first call, and returns what `build` said. `make` has
    /// installed what comes before. `check` gets these options too.
    fn follows_the_readme(&self, check: &str) -> String {
        let commands = self.readme(0);
        let [_setup, unit_tests, build, check_it, test, run, serve] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        assert_eq!(serve, "namelock serve --tenants .");
        self.succeeds(unit_tests);
        let built = self.succeeds(build);
        let wasm = fs::metadata(self.project().join("handler.wasm")).unwrap();
        assert!(built.contains(&format!("  size     {} bytes\n", wasm.len())), "{built}");
        assert!(built.contains("namelock:registration/handler@0.1.1\n"), "{built}");
        let config = self.folder.path().join("patient.toml");
        let config = format!("--config {}", config.display());
        let checked = self.succeeds(&format!("{check_it} {config} {check}"));
        assert!(checked.contains("core instances"), "{checked}");
        let tested = self.succeeds(&format!("{test} {config} --cache {CACHE}"));
        assert!(tested.ends_with(" scenarios went as expected\n"), "{tested}");
        let ran = self.succeeds(&format!("{run} {config} --cache {CACHE}"));
        assert!(ran.contains(r#""name":"SPRING","owner":"ann""#), "{ran}");
        built
    }
}

/// The page from an empty directory to a handler.
const TUTORIAL: &str = include_str!("../../guest/README.md");

/// The n-th block of this kind in the tutorial, without the comments behind its lines.
fn tutorial(kind: &str, block: usize) -> Vec<String> {
    let text = TUTORIAL.split(&format!("```{kind}\n")).nth(block + 1).unwrap();
    let lines = text.split("```").next().unwrap().lines();
    let lines = lines.map(|line| line.split("  # ").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_project_in_rust_is_tested_built_checked_run_and_served_as_its_readme_says() {
    let newcomer = Newcomer::new("rust");
    newcomer.succeeds("cd codes && cargo fmt --check");
    newcomer.follows_the_readme("");
    let mut serve = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    serve
        .args(["serve", "--tenants", "."])
        .args(ports)
        .current_dir(newcomer.here());
    let mut host = Process::spawn(serve.stdout(Stdio::piped()).stderr(Stdio::null()));
    let (public, admin) = host.listening(DEADLINE).unwrap();
    assert!(wait_until_ready(admin, DEADLINE));
    let expected = ["201", "409", "204"];
    for (line, expected) in newcomer.readme(1).iter().zip(expected) {
        let quiet = "curl --silent --output /dev/null --write-out '%{http_code}'";
        let line = line
            .replace("127.0.0.1:8080", &public.to_string())
            .replacen("curl -i", quiet, 1);
        assert_eq!(newcomer.succeeds(&line), expected, "{line}");
    }
}

#[test]
fn a_project_is_built_and_served_anew_when_a_file_changes() {
    let newcomer = Newcomer::with_package("served");
    // Its dependencies take longer than a host may to come.
    newcomer.succeeds("namelock build codes");
    let mut command = newcomer.shell(&format!(
        "exec namelock dev codes --listen 127.0.0.1:0 --cache {CACHE} 2>dev.log"
    ));
    let mut host = Process::spawn(command.stdout(Stdio::piped()));
    let log = || fs::read_to_string(newcomer.here().join("dev.log")).unwrap();
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < 5 * DEADLINE, "{what}: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    };
    let (public, admin) = host.listening(DEADLINE).unwrap();
    assert!(wait_until_ready(admin, DEADLINE));
    let register = |name: &str| {
        let address = format!("http://{public}/v1/codes/names");
        let body = format!(r#"{{"name":"{name}","owner":"ann"}}"#);
        newcomer.succeeds(&format!(
            "curl --silent --output /dev/null --write-out '%{{http_code}}' {address} -d '{body}'"
        ))
    };
    assert_eq!(register("four"), "201");
    let change = |from: &str, to: &str| {
        let source = newcomer.project().join("src/lib.rs");
        let text = fs::read_to_string(&source).unwrap();
        assert!(text.contains(from));
        fs::write(&source, text.replace(from, to)).unwrap();
    };
    // What cannot be built leaves the version before it in place, and the next change is waited for.
    change("(4..=12)", "(six..=12)");
    wait("it is tried", &|| {
        log().contains("not built; the version before is served")
    });
    assert_eq!(register("more"), "201");
    change("six", "6");
    wait("the change is served", &|| register("less") == "422");
    assert_eq!(register("sixsix"), "201");
    host.signal("INT");
    assert_eq!(
        host.wait(DEADLINE).and_then(|status| status.code()),
        Some(0),
        "{}",
        log()
    );
    assert!(
        log().contains("request ended") && log().contains("name_invalid"),
        "{}",
        log()
    );
}

#[test]
fn the_tutorial_says_what_the_readme_of_each_project_says() {
    for (block, language) in [(1, "rust"), (2, "python"), (3, "js")] {
        let newcomer = Newcomer::new(language);
        let mut commands = vec![format!("namelock new codes --lang {language}")];
        commands.extend(newcomer.readme(0));
        assert_eq!(tutorial("sh", block), commands);
    }
}

#[test]
fn the_change_of_the_tutorial_does_what_it_says() {
    let newcomer = Newcomer::with_package("changed");
    newcomer.succeeds("namelock build codes");
    let scenarios = newcomer.project().join("scenarios/handler.toml");
    let given = fs::read_to_string(&scenarios).unwrap();
    fs::write(&scenarios, given.clone() + &tutorial("toml", 0).join("\n")).unwrap();
    let test = format!("namelock test codes --cache {CACHE}");
    let output = newcomer.types(&test);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for line in &tutorial("text", 0)[1..3] {
        assert!(said.lines().any(|other| other.trim() == line), "{line}: {said}");
    }
    let source = newcomer.project().join("src/lib.rs");
    let handler = fs::read_to_string(&source).unwrap();
    assert!(handler.contains("(4..=12)"));
    fs::write(
        &source,
        handler.replace("(4..=12)", "(6..=12)").replace("4 to 12", "6 to 12"),
    )
    .unwrap();
    fs::write(
        &scenarios,
        fs::read_to_string(&scenarios).unwrap().replace("4 to 12", "6 to 12"),
    )
    .unwrap();
    newcomer.succeeds("namelock build codes");
    newcomer.succeeds(&test);
}

#[test]
fn the_lock_file_of_a_project_in_rust_has_the_versions_of_this_workspace() {
    let newcomer = Newcomer::new("rust");
    let at = newcomer.project().join("Cargo.lock");
    fs::copy(Path::new(ROOT).join("Cargo.lock"), &at).unwrap();
    // cargo takes out of it what the project does not need, and changes nothing else.
    newcomer.succeeds("cd codes && cargo metadata --format-version 1");
    let (expect, template) = (
        fs::read_to_string(at).unwrap(),
        Path::new(ROOT).join("guest/new/rust/Cargo.lock"),
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&template, &expect).unwrap();
    }
    let found = fs::read_to_string(template).unwrap();
    assert!(
        found == expect,
        "run with UPDATE_DOCS=1 to rewrite guest/new/rust/Cargo.lock"
    );
}

#[test]
fn a_project_in_python_is_tested_built_checked_and_run_as_its_readme_says() {
    let newcomer = Newcomer::new("python");
    let tool = fs::canonicalize(Path::new(ROOT).join("target/python/venv/bin/componentize-py"));
    let tool = tool.expect("this test needs componentize-py: run `make setup-python`");
    symlink(tool, newcomer.bin.join("componentize-py")).unwrap();
    let built = newcomer.follows_the_readme("--no-compile");
    assert!(built.contains("wasi:random/"), "random numbers are real: {built}");
}

#[test]
fn a_project_in_javascript_is_tested_built_checked_and_run_as_its_readme_says() {
    let newcomer = Newcomer::new("js");
    // As `npm ci` leaves it: what the lock file pins, and a link to the SDK.
    let (installed, modules) = (
        Path::new(ROOT).join("guest/js/node_modules"),
        newcomer.project().join("node_modules"),
    );
    let packages = fs::read_dir(&installed).expect("this test needs the tools of guest/js: run `make setup-js`");
    fs::create_dir(&modules).unwrap();
    for package in packages {
        let package = package.unwrap();
        symlink(
            package.path().canonicalize().unwrap(),
            modules.join(package.file_name()),
        )
        .unwrap();
    }
    symlink("../sdk", modules.join("namelock")).unwrap();
    let built = newcomer.follows_the_readme("--no-compile");
    assert!(built.contains("wasi:random/"), "random numbers are real: {built}");
    // npm would take the lock file, without asking a registry for anything.
    fs::remove_dir_all(modules).unwrap();
    newcomer.succeeds("cd codes && npm ci --dry-run --offline --ignore-scripts");
}

#[test]
fn what_is_not_installed_is_named_with_the_command_that_installs_it() {
    let check = |newcomer: &Newcomer, expect: &str| {
        let output = newcomer.types_alone("namelock build codes");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        assert_eq!(text(&output.stderr), format!("namelock: cannot build: {expect}\n"));
    };
    let newcomer = Newcomer::new("rust");
    check(&newcomer, "rustc is not installed: install Rust by https://rustup.rs");
    newcomer.program("rustc", "echo /no/such/folder");
    let setup = &newcomer.readme(0)[0];
    check(
        &newcomer,
        &format!("the target wasm32-wasip2 of Rust is not installed: run `{setup}`"),
    );

    let newcomer = Newcomer::new("python");
    let setup = &newcomer.readme(0)[0];
    check(&newcomer, &format!("componentize-py is not installed: run `{setup}`"));

    let newcomer = Newcomer::new("js");
    check(
        &newcomer,
        "node is not installed: install Node.js 20 or later, with npm",
    );
    newcomer.program("node", "echo v18.20.4");
    check(
        &newcomer,
        "this is Node.js v18.20.4: install Node.js 20 or later, with npm",
    );
    newcomer.program("node", "echo v20.0.0");
    let setup = &newcomer.readme(0)[0];
    check(
        &newcomer,
        &format!("the packages of the project are not installed: run `{setup}`"),
    );
}

/// A project whose `node` does this when it is to build the component `$4`.
fn with_node(script: &str) -> Newcomer {
    let newcomer = Newcomer::new("js");
    newcomer.program(
        "node",
        &format!("[ \"$1\" = --version ] && echo v20.0.0 && exit\n{script}"),
    );
    let modules = newcomer.project().join("node_modules");
    fs::create_dir(&modules).unwrap();
    symlink("../sdk", modules.join("namelock")).unwrap();
    newcomer
}

#[test]
fn a_component_is_replaced_only_by_a_whole_one() {
    let newcomer = with_node("echo loud; echo broken >$4; exit $(cat outcome)");
    let (outcome, component) = (
        newcomer.project().join("outcome"),
        newcomer.project().join("handler.wasm"),
    );
    fs::write(&component, "old").unwrap();
    for (status, expect) in [
        ("3", "node failed (exit status: 3)"),
        ("0", "what was made is no component"),
    ] {
        fs::write(&outcome, status).unwrap();
        let output = newcomer.types("namelock build codes");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        let said = text(&output.stderr);
        assert!(said.contains(expect) && said.starts_with("loud\n"), "{said}");
        assert_eq!(fs::read_to_string(&component).unwrap(), "old");
    }
    let newcomer = with_node(&format!("cp '{ROOMS}' $4"));
    let built = newcomer.succeeds("cd codes && namelock build");
    assert!(built.contains("namelock:registration/updates@0.1.1"), "{built}");
    let component = newcomer.project().join("handler.wasm");
    assert_eq!(fs::read(&component).unwrap(), fs::read(ROOMS).unwrap());
    let folder = fs::read_dir(newcomer.project()).unwrap();
    let parts: Vec<_> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!parts.iter().any(|name| name.starts_with(".handler")), "{parts:?}");
}

#[test]
fn a_signal_ends_a_build_and_all_that_it_has_started_and_made() {
    // All of them have the pipe open.
    let newcomer = with_node("exec >pipe; echo 1 >$TMPDIR/part; sleep 10000 & echo $TMPDIR; wait");
    let pipe = newcomer.project().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = newcomer.shell("exec namelock build codes");
    let mut build = Process::spawn(command.stderr(Stdio::piped()));
    let mut said = BufReader::new(File::open(pipe).unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let temporary = Path::new(line.trim_end());
    assert!(temporary.join("part").is_file(), "{line}");
    build.signal("INT");
    assert_eq!(
        io::read_to_string(said).unwrap(),
        "",
        "it ends when nobody has the pipe open any more"
    );
    let (status, log) = build.last_words(DEADLINE).unwrap();
    assert_eq!(log, "namelock: cannot build: stopped by a signal while node ran\n");
    assert_eq!(status.code(), Some(1));
    assert!(!temporary.exists(), "what the tool left behind is gone as well");
}

#[test]
fn a_directory_that_is_no_project_is_bad_usage() {
    let newcomer = Newcomer::new("rust");
    fs::write(newcomer.project().join("package.json"), "{}").unwrap();
    for (command, expect) in [
        (
            "namelock build",
            "namelock: .: this is no project: it has none of Cargo.toml, ",
        ),
        ("namelock build none", "namelock: none: there is no such directory"),
        (
            "namelock build codes",
            "namelock: codes: this could be a project in two languages, because it has Cargo.toml and ",
        ),
        ("namelock new codes --lang js", "namelock: codes: is not empty; "),
        (
            "namelock new Codes --lang js",
            "namelock: Codes: the last part names a tenant, and ",
        ),
        (
            "namelock new other --lang c",
            "namelock: usage: invalid value 'c' for '--lang <LANGUAGE>'",
        ),
    ] {
        let output = newcomer.types(command);
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && said.starts_with(expect),
            "{command}: {said}"
        );
    }
}
