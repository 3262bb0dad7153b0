//! A recording that names nobody: others stand for owners and attributes.
//!
//! - Equal texts get equal pseudonyms, so what a handler compares is equal or not as it was.
//! - A pseudonym has as many bytes as the text that it stands for, where that has enough: many a handler fails at a length.
//! - The key of an attribute stays if it looks like the name of a field, because handlers look for those.
//! - Names stay.
//! - What the component has said, in lines of its log or as the reason of its end, goes. Nobody could find all that it may have
//!   made of an owner. So the call is run again with the pseudonyms, and what it says then is recorded: it has never seen
//!   anything else. A component that does something else then, because it looks into what it is given, has no recording.

use std::collections::{HashMap, HashSet};

use super::player::Replayed;
use super::texts::{Kind, Texts};
use super::{Owners, Recording};

/// The longest key of an attribute that looks like the name of a field, in bytes.
const FIELD_BYTES_MAX: usize = 32;

#[derive(Default)]
struct Pseudonyms {
    of: HashMap<String, String>,
    /// The texts of the recording, for which none may be taken.
    texts: HashSet<String>,
    owners: usize,
    values: usize,
}

impl Recording {
    /// The recording with pseudonyms in the place of owners and attributes, and without what the component has said. That is
    /// added once the call was run again ([`as_replayed`](Self::as_replayed)).
    #[must_use]
    pub fn without_owners(mut self) -> Self {
        let mut pseudonyms = Pseudonyms::default();
        Texts::each(&mut self, &mut |_, text| {
            pseudonyms.texts.insert(text.clone());
        });
        Texts::each(&mut self, &mut |kind, text| pseudonyms.replace(kind, text));
        self.log.clear();
        (self.broke_down, self.outcome.text) = (None, None);
        self.owners = Owners::Pseudonyms;
        self
    }

    /// The recording with what its component says in a replay; none: it does something else than was recorded.
    #[must_use]
    pub fn as_replayed(mut self, replayed: Replayed) -> Option<Self> {
        if replayed.difference.is_some() || replayed.registration != self.outcome.registration {
            return None;
        }
        self.log = replayed.log;
        self.broke_down = replayed.broke_down;
        self.outcome.text = replayed.text;
        Some(self)
    }
}

impl Pseudonyms {
    fn replace(&mut self, kind: Kind, text: &mut String) {
        if text.is_empty() || kind == Kind::Key && is_field(text) {
            return;
        }
        if !self.of.contains_key(text.as_str()) {
            let new = self.new_for(kind, text.len());
            self.of.insert(text.clone(), new);
        }
        text.clone_from(&self.of[text.as_str()]);
    }

    /// One that is no text of the recording, of this length at least.
    fn new_for(&mut self, kind: Kind, length: usize) -> String {
        loop {
            let (word, count) = match kind {
                Kind::Owner => ("owner", &mut self.owners),
                Kind::Key | Kind::Value => ("value", &mut self.values),
            };
            *count += 1;
            let new = format!("{:.<length$}", format!("{word}-{count}"));
            if !self.texts.contains(&new) {
                return new;
            }
        }
    }
}

/// Whether this looks like the name of a field, and not like what somebody has written into one.
fn is_field(key: &str) -> bool {
    key.len() <= FIELD_BYTES_MAX
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests;
