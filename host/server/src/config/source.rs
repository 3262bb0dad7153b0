//! The text of a TOML file, and the error for whatever is wrong in it.
//!
//! Whatever is wrong with what the operator wrote is one [`ConfigError`] of one line that says what, where, and how to fix
//! it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::text::one_line;

/// Longest message of a configuration error, in bytes.
const MESSAGE_MAX: usize = 1024;

/// How many problems of one file are listed.
const PROBLEMS_MAX: usize = 16;

/// What is wrong with the configuration, on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// Where: a flag, a variable, or a file with its line and key.
    place: String,
    /// The key of the setting, if it is of one; the path has none for what is no TOML.
    key: String,
    /// What is wrong there, and how to fix it.
    problem: String,
}

impl ConfigError {
    /// Makes an error of where and what; `problem` should say how to fix it.
    pub fn new(place: impl AsRef<str>, problem: impl AsRef<str>) -> Self {
        Self {
            place: one_line(place.as_ref(), MESSAGE_MAX),
            key: String::new(),
            problem: one_line(problem.as_ref(), MESSAGE_MAX),
        }
    }

    /// Says of which setting it is.
    pub(super) fn of(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// The section of the setting that it is of; empty: it is of no setting, or of the file as a whole.
    pub(super) fn section(&self) -> &str {
        self.key.split('.').next().unwrap_or_default()
    }
}

/// The text of a TOML file, and its path for messages; no path means that there is no file.
#[derive(Debug, Default)]
pub struct Source {
    path: Option<PathBuf>,
    text: String,
}

impl Source {
    /// Reads the file at `path`.
    pub fn read(path: &Path, max: u64) -> Result<Self, ConfigError> {
        let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
        Self::read_from(file, path, max)
    }

    /// Reads a file that is open already.
    pub fn read_from(file: File, path: &Path, max: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            path: Some(path.into()),
            text: read(file, path, max)?,
        })
    }

    /// A text that is said to be at this path.
    pub fn at(path: &Path, text: &str) -> Self {
        Self {
            path: Some(path.into()),
            text: text.to_owned(),
        }
    }

    /// A file with this text.
    pub fn of(text: &str) -> Self {
        Self {
            path: None,
            text: text.to_owned(),
        }
    }

    /// Where the file is; none: there is no file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Parses the file, and refuses keys that it should not have.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let syntax = |error: toml::de::Error| {
            let problem = format!("this is not TOML: {}", error.message());
            ConfigError::new(self.place(error.span().map(|span| span.start), ""), problem)
        };
        let document = toml::Deserializer::parse(&self.text).map_err(syntax)?;
        serde_path_to_error::deserialize(document).map_err(|error| {
            let key = error.path().to_string();
            let start = error.inner().span().map(|span| span.start);
            ConfigError::new(self.place(start, &key), error.inner().message())
        })
    }

    /// Parses the file as [`parse`](Self::parse) does, and goes on without what is wrong: lists all of it, up to a
    /// bound. There is nothing without it if the file is no TOML, or if there is too much of it.
    pub fn parse_all<T: DeserializeOwned>(&self) -> (Option<T>, Vec<ConfigError>) {
        let mut table = match DeTable::parse(&self.text) {
            Ok(table) => table,
            Err(_) => return (None, self.parse::<T>().err().into_iter().collect()),
        };
        let mut wrong = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize(toml::Deserializer::from(table.clone())) {
                Ok(parsed) => return (Some(parsed), wrong),
                Err(error) => error,
            };
            let path: Vec<_> = error.path().iter().collect();
            // Without the numbers of elements, which do not count those that were removed.
            let keys = path.iter().filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.as_str()),
                _ => None,
            });
            let key = keys.collect::<Vec<_>>().join(".");
            let start = error.inner().span().map(|span| span.start);
            wrong.push(ConfigError::new(self.place(start, &key), error.inner().message()).of(&key));
            if wrong.len() == PROBLEMS_MAX || !remove(table.get_mut(), &path) {
                return (None, wrong);
            }
        }
    }

    /// Names a place in the file: its path, the line of byte `start`, and the key.
    pub fn place(&self, start: Option<usize>, key: &str) -> String {
        let mut place = self.path.as_deref().unwrap_or(Path::new("")).display().to_string();
        if let Some(before) = start.and_then(|start| self.text.as_bytes().get(..start)) {
            place.push_str(&format!(
                ", line {}",
                before.iter().filter(|byte| **byte == b'\n').count() + 1
            ));
        }
        if !key.is_empty() && key != "." {
            place.push_str(&format!(", {key}"));
        }
        place
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError::new(
        path.display().to_string(),
        format!("cannot read this file: {error}; check its path"),
    )
}

/// Reads a file of at most `max` bytes as UTF-8.
fn read(file: File, path: &Path, max: u64) -> Result<String, ConfigError> {
    let place = path.display().to_string();
    let mut bytes = Vec::new();
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(path, &error))?;
    if bytes.len() as u64 > max {
        return Err(ConfigError::new(
            &place,
            format!("this file is longer than {max} bytes; make it shorter"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::new(&place, "this file is not UTF-8; write it in UTF-8"))
}

/// Removes what a path leads to, or the last part of it that is there; false: nothing was removed.
fn remove(table: &mut DeTable<'_>, path: &[&Segment]) -> bool {
    let Some((Segment::Map { key }, rest)) = path.split_first() else {
        return false;
    };
    let inner = match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => remove(inner, rest),
        Some(DeValue::Array(inner)) => remove_element(inner, rest),
        _ => false,
    };
    inner || table.remove(key.as_str()).is_some()
}

/// Removes an element of an array as a whole: it lacks what is wrong in it.
fn remove_element(array: &mut DeArray<'_>, path: &[&Segment]) -> bool {
    let Some(Segment::Seq { index }) = path.first() else {
        return false;
    };
    let before = array.len();
    let left = array.iter().enumerate().filter(|(at, _)| at != index);
    *array = left.map(|(_, element)| element.clone()).collect();
    array.len() < before
}
