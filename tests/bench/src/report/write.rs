//! Puts a report where it is read: as JSON beside the build, and each row as a section with a picture into the documents.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::environment::root;
use super::section::replace;
use super::{Report, Row, markdown, plot};

/// The document, and where it stands in the repository.
const DOCUMENT: &str = "docs/performance.md";

/// Checks that each of these rows has its section in the document, which is better known before a run than after it.
pub(crate) fn require_sections<'a>(rows: impl IntoIterator<Item = &'a str>) -> anyhow::Result<()> {
    let document = read()?;
    for id in rows {
        replace(&document, id, "").context(DOCUMENT)?;
    }
    Ok(())
}

/// Writes everything. Sections of rows that were not measured stay as they are: each says when it was measured.
pub(crate) fn write(report: &Report) -> anyhow::Result<()> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("report.json"), serde_json::to_string_pretty(report)? + "\n")?;
    let mut document = read()?;
    for row in &report.rows {
        let picture = plot::is_worth_drawing(row).then(|| picture(row));
        if let Some(picture) = &picture {
            fs::write(root().join("docs").join(picture), plot::draw(row))?;
        }
        let section = markdown::section(row, &report.environment, picture.as_deref());
        document = replace(&document, &row.id, &section).context(DOCUMENT)?;
        println!("\n{}\n\n{section}\n", row.title);
    }
    fs::write(path(), document)?;
    println!("written: {DOCUMENT} with its pictures, and target/bench/report.json");
    Ok(())
}

/// The file of a row's picture, in the folder of the document.
fn picture(row: &Row) -> String {
    format!("performance-{}.svg", row.id)
}

fn path() -> PathBuf {
    root().join(DOCUMENT)
}

fn read() -> anyhow::Result<String> {
    fs::read_to_string(path()).with_context(|| format!("cannot read {DOCUMENT}"))
}
