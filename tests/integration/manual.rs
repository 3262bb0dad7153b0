//! Completions for shells and pages of `man`, judged by the shells and by the tools that show pages.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use namelock_test_servers::Process;

fn namelock(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_namelock"))
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = namelock(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a program says of a text on its standard input, and whether it ended well.
fn judge(program: &str, arguments: &[&str], install: &str, text: &str) -> (bool, String) {
    let mut command = Process::command(program, install);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn bash_completes_commands_and_flags_and_no_hidden_command() {
    let script = printed(&["completions", "bash"]);
    assert_eq!(
        judge("bash", &["-n"], "it is in Debian's bash", &script),
        (true, String::new())
    );
    let complete = |words: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words} '')\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n_namelock namelock '' ''\necho \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").arg("-c").arg(ask).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = complete("namelock");
    for command in ["serve", "check-config", "admin", "token", "completions", "man"] {
        assert!(commands.split_whitespace().any(|word| word == command), "{commands}");
    }
    assert!(!commands.split_whitespace().any(|word| word == "compile"), "{commands}");
    assert!(complete("namelock serve").contains("--print-config"));
    assert!(complete("namelock admin locks").contains("--names"));
}

#[test]
fn every_shell_gets_completions_and_another_is_refused_with_the_list() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(printed(&["completions", shell]).contains("check-config"), "{shell}");
    }
    let output = namelock(&["completions", "nu"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "namelock: usage: invalid value 'nu' for '<SHELL>'; [possible values: bash, elvish, fish, powershell, zsh]; see \
         `namelock --help`\n"
    );
}

#[test]
fn every_command_has_a_page_that_is_shown_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    // It is made where it is missing.
    let dir = folder.path().join("man1");
    assert_eq!(printed(&["man", "--dir", dir.to_str().unwrap()]), "");
    let mut pages: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in [
        "namelock.1",
        "namelock-serve.1",
        "namelock-admin-locks.1",
        "namelock-token-new.1",
    ] {
        assert!(pages.iter().any(|found| found == page), "{page} is not in {pages:?}");
    }
    assert!(!pages.iter().any(|page| page == "namelock-compile.1"), "{pages:?}");
    for page in &pages {
        let text = fs::read_to_string(dir.join(page)).unwrap();
        let arguments = ["-man", "-ww", "-z", "-Kutf8"];
        assert_eq!(
            judge("groff", &arguments, "install groff-base", &text),
            (true, String::new()),
            "{page}"
        );
    }
    assert_eq!(printed(&["man"]), fs::read_to_string(dir.join("namelock.1")).unwrap());
}

#[test]
fn a_directory_for_pages_that_cannot_be_made_is_named() {
    let output = namelock(&["man", "--dir", "/proc/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("namelock: cannot write /proc/nowhere: "), "{said}");
    assert!(!Path::new("/proc/nowhere").exists());
}
