//! What a component is: its digest, and what it imports and exports.

use std::fmt;

use serde::Serialize;

/// What can be said of a component without compiling it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Contents {
    /// None: it could not be read.
    pub(super) sha256: Option<String>,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sha256) = &self.sha256 {
            writeln!(f, "  sha256   {sha256}")?;
        }
        for (what, names) in [("imports", &self.imports), ("exports", &self.exports)] {
            for (number, name) in names.iter().enumerate() {
                let what = if number == 0 { what } else { "" };
                writeln!(f, "  {what:<8} {name}")?;
            }
        }
        Ok(())
    }
}
