//! What came of each scenario, for people and as JUnit XML.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::{ElementWriter, Writer};

use super::judge::Difference;
use crate::text::one_line;

/// Longest name of a scenario that is printed, in bytes.
const NAME_MAX: usize = 256;

/// A scenario that was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) file: PathBuf,
    pub(super) name: String,
    pub(super) steps: usize,
    pub(super) took: Duration,
    pub(super) failure: Option<Failure>,
}

/// The first step that did not go as expected.
#[derive(Debug)]
pub(super) struct Failure {
    /// From 1 on.
    pub(super) step: usize,
    pub(super) what: String,
    pub(super) differences: Vec<Difference>,
}

impl Failure {
    fn text(&self) -> String {
        let mut text = match self.step {
            0 => format!("  {}\n", self.what),
            step => format!("  step {step}: {}\n", self.what),
        };
        for Difference { expected, got } in &self.differences {
            let _ = writeln!(text, "    expected  {expected}\n    got       {got}");
        }
        text
    }
}

/// What came of all.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) played: Vec<Played>,
}

impl Report {
    pub(super) fn failed(&self) -> usize {
        self.played.iter().filter(|played| played.failure.is_some()).count()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for played in &self.played {
            let Played {
                file,
                name,
                steps,
                took,
                failure,
            } = played;
            let verdict = if failure.is_some() { "FAILED" } else { "ok    " };
            let (file, took) = (file.display(), took.as_secs_f64() * 1000.0);
            let name = one_line(name, NAME_MAX);
            let plural = if *steps == 1 { "" } else { "s" };
            let _ = writeln!(text, "{verdict}  {file}: {name} ({steps} step{plural}, {took:.0} ms)");
            text.extend(failure.iter().map(Failure::text));
        }
        let (all, failed) = (self.played.len(), self.failed());
        let _ = writeln!(text, "{} of {all} scenarios went as expected", all - failed);
        text
    }

    /// As JUnit XML, in the form that CI servers read: a suite for each file.
    ///
    /// # Errors
    ///
    /// Those of writing into memory, which has none.
    pub(super) fn junit(&self) -> io::Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        counted(writer.create_element("testsuites"), "namelock test", &self.played).write_inner_content(|writer| {
            for suite in self.played.chunk_by(|one, next| one.file == next.file) {
                let file = suite
                    .first()
                    .map(|played| played.file.display().to_string())
                    .unwrap_or_default();
                counted(writer.create_element("testsuite"), &file, suite)
                    .write_inner_content(|writer| suite.iter().try_for_each(|played| case(writer, &file, played)))?;
            }
            Ok(())
        })?;
        Ok(writer.into_inner())
    }
}

/// Adds what a suite says of its cases.
fn counted<'w>(element: ElementWriter<'w, Vec<u8>>, name: &str, played: &[Played]) -> ElementWriter<'w, Vec<u8>> {
    let failures = played.iter().filter(|played| played.failure.is_some()).count();
    let took: Duration = played.iter().map(|played| played.took).sum();
    element
        .with_attribute(("name", legal(name).as_str()))
        .with_attribute(("tests", played.len().to_string().as_str()))
        .with_attribute(("failures", failures.to_string().as_str()))
        .with_attribute(("time", seconds(took).as_str()))
}

fn case(writer: &mut Writer<Vec<u8>>, file: &str, played: &Played) -> io::Result<()> {
    let case = writer
        .create_element("testcase")
        .with_attribute(("name", legal(&played.name).as_str()))
        .with_attribute(("classname", legal(file).as_str()))
        .with_attribute(("time", seconds(played.took).as_str()));
    let Some(failure) = &played.failure else {
        return case.write_empty().map(drop);
    };
    let written = case.write_inner_content(|writer| {
        let message = format!("step {}: {}", failure.step, failure.what);
        let element = writer
            .create_element("failure")
            .with_attribute(("message", legal(&message).as_str()));
        element
            .write_text_content(BytesText::new(&legal(&failure.text())))
            .map(drop)
    });
    written.map(drop)
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// A text without the characters that XML 1.0 (section 2.2) has no way to write.
fn legal(text: &str) -> String {
    let is_legal =
        |char: char| matches!(char, '\t' | '\n' | '\r') || (char >= ' ' && !matches!(char, '\u{fffe}' | '\u{ffff}'));
    text.chars()
        .map(|char| {
            if is_legal(char) {
                char
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}
