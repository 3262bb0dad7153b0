//! A million names are imported and exported, into both databases.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use namelock_test_servers::Postgres;
use sha2::{Digest, Sha256};

use crate::memory::resident;

/// How often it is looked how much memory a command has.
const EVERY: Duration = Duration::from_millis(20);

const NAMES: u64 = 1_000_000;

/// Where cargo puts the host; `make` has built it.
const HOST: &str = "target/release/namelock";

pub(crate) fn run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (source, exported) = (folder.path().join("source.jsonl"), folder.path().join("exported.jsonl"));
    write(&source)?;
    let length = source.metadata()?.len();
    println!(
        "{NAMES} names, {} MiB of lines, each with an attribute and the key of a request",
        length >> 20
    );
    println!("| database | command | s | names/s | peak MiB |");
    println!("|---|---|---|---|---|");
    let server = Postgres::start();
    let sqlite = format!("sqlite:{}", folder.path().join("names.db").display());
    for (database, url) in [("SQLite", sqlite), ("PostgreSQL", server.url())] {
        let commands: [&[&str]; 3] = [
            &["import", "--input", text(&source)?],
            &["import", "--input", text(&source)?],
            &["export", "--output", text(&exported)?, "--force"],
        ];
        for (command, title) in commands.into_iter().zip(["import", "import again", "export"]) {
            let (seconds, peak) = time(&url, command)?;
            println!(
                "| {database} | {title} | {seconds:.1} | {:.0} | {peak:.0} |",
                NAMES as f64 / seconds
            );
        }
        ensure!(
            same(&source, &exported)?,
            "what was exported from {database} is not what was imported"
        );
    }
    Ok(())
}

/// Runs a command; tells how long it took, and the most memory that it had.
fn time(url: &str, arguments: &[&str]) -> anyhow::Result<(f64, f64)> {
    let (command, rest) = arguments.split_first().context("no command")?;
    let began = Instant::now();
    let mut child = Command::new(HOST)
        .args(["names", command, "--names", url, "demo"])
        .args(rest)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {HOST}; `make build` makes it"))?;
    let mut peak = 0_f64;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // It may be gone by now.
        peak = resident(child.id()).map_or(peak, |now| peak.max(now.all));
        std::thread::sleep(EVERY);
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{command} ended with {status}");
    Ok((seconds, peak))
}

fn write(path: &Path) -> anyhow::Result<()> {
    let mut out = Hashed {
        out: BufWriter::new(File::create(path)?),
        digest: Sha256::new(),
    };
    writeln!(
        out,
        r#"{{"format":"namelock-names","version":1,"tenant":"demo","time_ms":1790000000000,"by":"bench"}}"#
    )?;
    for number in 0..NAMES {
        writeln!(
            out,
            "{{\"name\":\"name {number:08}\",\"owner\":\"owner {}\",\"created_ms\":1790000000000,\"fencing_token\":{},\
             \"attributes\":[[\"view\",\"sea\"]],\"saved_by\":{{\"key\":\"{number:032x}\",\"fingerprint\":\"{number:032x}\"}}}}",
            number % 1000,
            number + 1,
        )?;
    }
    let sha256: String = out.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(out.out, "{{\"end\":{{\"records\":{NAMES},\"sha256\":\"{sha256}\"}}}}")?;
    out.out.flush()?;
    Ok(())
}

/// Whether two exports have the same names.
fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let digest = |path: &Path| -> anyhow::Result<_> {
        let text = std::fs::read(path)?;
        let first = text.iter().position(|byte| *byte == b'\n').context("no line")?;
        let last = text.len() - "\"sha256\":\"\"}}\n".len() - 64;
        Ok(Sha256::digest(text.get(first..last).context("no end")?))
    };
    Ok(digest(one)? == digest(other)?)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path is no text")
}

struct Hashed<W> {
    out: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
