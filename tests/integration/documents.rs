//! What the documents tell a reader to type works, and the configuration that they show is accepted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use namelock::config::{Config, ServeFlags};

use crate::fixture::Builder;

/// The documents with blocks that a reader is told to run or to copy.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "docs/api.md",
    "docs/authentication.md",
    "docs/configuration.md",
    "docs/handlers.md",
    "docs/operations.md",
];

/// The first line of a block that is run against the host of `make run`.
const RUN: &str = "# runs against: make run";

/// A fenced block of a document.
struct Block {
    /// The document and the line where it begins.
    place: String,
    language: String,
    lines: Vec<String>,
}

impl Block {
    fn is_headed(&self, heading: &str) -> bool {
        self.lines.first().is_some_and(|line| line == heading)
    }

    fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn blocks(document: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                blocks.push(Block {
                    place: format!("{document}:{}", number + 1),
                    language: language.to_owned(),
                    lines: Vec::new(),
                });
            }
            None if inside => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            None => {}
        }
    }
    blocks
}

#[tokio::test]
async fn every_command_for_a_running_host_answers_as_the_document_says() {
    let host = Builder::new().demo().start();
    host.wait_until_ready();
    let mut run = 0;
    for block in DOCUMENTS.iter().flat_map(|document| blocks(document)) {
        if !block.is_headed(RUN) {
            continue;
        }
        for line in &block.lines[1..] {
            let (command, expected) = line
                .rsplit_once("  # ")
                .unwrap_or_else(|| panic!("{}: no status: {line}", block.place));
            let command = command
                .replace("http://127.0.0.1:8080", &host.url)
                .replace("http://127.0.0.1:8081", &host.admin)
                .replacen(
                    "curl -i",
                    "curl --silent --output /dev/null --write-out '%{http_code}'",
                    1,
                );
            let output = Command::new("sh").arg("-c").arg(&command).output().unwrap();
            let status = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(status, expected, "{}: {command}: {output:?}", block.place);
            run += 1;
        }
    }
    assert!(run >= 10, "only {run} commands were found");
}

#[test]
fn every_configuration_that_the_documents_show_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hosts, mut tenants) = (0, 0);
    for block in DOCUMENTS.iter().flat_map(|document| blocks(document)) {
        if block.language != "toml" {
            continue;
        }
        if block.is_headed("# tenant.toml") {
            let dir = folder.path().join(format!("tenants-{tenants}"));
            fs::create_dir_all(dir.join("demo")).unwrap();
            fs::write(dir.join("demo/tenant.toml"), block.text()).unwrap();
            let limits = namelock::config::Limits::default();
            let shared = ["demo".parse().unwrap()];
            let rules = namelock::tenants::Rules {
                hold_max: std::time::Duration::MAX,
                defaults: &limits,
                max: &limits,
                shared_namespace: &shared,
            };
            let candidates = namelock::tenants::directory::scan(&dir, &rules, Path::new("none")).unwrap();
            assert_eq!(candidates.len(), 1);
            let error = candidates[0].error().map(ToString::to_string);
            assert_eq!(error, None, "{}", block.place);
            tenants += 1;
        } else if block.is_headed("# namelock.toml") {
            let file = folder.path().join("namelock.toml");
            fs::write(&file, block.text()).unwrap();
            let flags = ServeFlags {
                config: Some(file.into()),
                ..ServeFlags::default()
            };
            let loaded = Config::load(&flags, &|_| None);
            assert!(loaded.is_ok(), "{}: {:?}", block.place, loaded.err());
            hosts += 1;
        } else {
            let parsed = block.text().parse::<toml::Table>();
            assert!(parsed.is_ok(), "{}: {:?}", block.place, parsed.err());
        }
    }
    assert!(hosts >= 2 && tenants >= 2, "{hosts} of hosts, {tenants} of tenants");
}
