//! The rules of this repository, applied to its files. `cargo nextest run -p namelock-repository-tests --no-capture` prints the
//! figures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use namelock_repository_tests::files::{File, crates, read, root, sources};
use namelock_repository_tests::{circles, documents, lengths, promises};

/// Fails with these findings, one in each line.
#[track_caller]
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

/// Applies a check to the sources of each crate; each finding begins with the crate.
fn of_each_crate(check: impl Fn(&[File]) -> Vec<String>) -> Vec<String> {
    let files = read(&root(), ".rs").unwrap();
    let of = |name: &String| {
        let found = check(&sources(&files, name));
        found
            .into_iter()
            .map(move |finding| format!("{name}/src: {finding}"))
            .collect::<Vec<_>>()
    };
    crates(&files).iter().flat_map(of).collect()
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    none("files import each other in a circle", &of_each_crate(circles::check));
}

#[test]
fn no_production_file_is_too_long() {
    let files = read(&root(), ".rs").unwrap();
    let crates = crates(&files);
    let is_production = |file: &&File| crates.iter().any(|name| file.path.starts_with(&format!("{name}/src/")));
    let production: Vec<_> = files.iter().filter(is_production).cloned().collect();
    let all = lengths::lengths(&production);
    println!(
        "{} production files, median {} lines; the longest:",
        all.len(),
        lengths::median(&all)
    );
    for (lines, path) in all.iter().take(10) {
        println!("{lines:>5} {path}");
    }
    none(
        "files that tell more than one story",
        &lengths::check(&all, lengths::PRODUCTION_LINES_MAX),
    );
}

#[test]
fn no_test_file_is_too_long() {
    let files = read(&root().join("tests"), ".rs").unwrap();
    let whole: Vec<_> = files
        .iter()
        .map(|file| (file.text.lines().count(), file.path.as_str()))
        .collect();
    none(
        "files of tests that are too long",
        &lengths::check(&whole, lengths::TEST_LINES_MAX),
    );
}

#[test]
fn every_promise_is_kept_by_code_and_shown_by_a_test() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap_or_default();
    none(
        "promises and their citations",
        &promises::check(&document, &read(&root(), ".rs").unwrap()),
    );
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let documents = read(&root(), ".md").unwrap();
    none(
        "links",
        &documents::links(&documents, |path| root().join(path).exists()),
    );
}

#[test]
fn what_the_documents_say_is_shown_by_a_test_is() {
    let (documents, sources) = (read(&root(), ".md").unwrap(), read(&root(), ".rs").unwrap());
    let found: Vec<_> = documents
        .iter()
        .flat_map(|document| documents::shown_by(document, &sources))
        .collect();
    none("tests and faults", &found);
}

#[test]
fn every_code_block_of_the_documents_says_its_language() {
    let documents = read(&root(), ".md").unwrap();
    let found: Vec<_> = documents.iter().flat_map(documents::languages).collect();
    none("fenced blocks", &found);
}

#[test]
fn no_comment_is_too_wide() {
    let sources = read(&root(), ".rs").unwrap();
    let found: Vec<_> = sources.iter().flat_map(documents::comment_width).collect();
    none("comments", &found);
}
