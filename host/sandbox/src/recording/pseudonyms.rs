//! A recording that names nobody: others stand for owners and attributes.
//!
//! - Equal texts get equal pseudonyms, so what a handler compares is equal or not as it was.
//! - A pseudonym has as many bytes as the text that it stands for, where that has enough: many a handler fails at a length.
//! - The key of an attribute stays if it looks like the name of a field, because handlers look for those.
//! - Names stay. In lines of the log and other texts that the handler made, a pseudonym stands wherever the text stood, a very
//!   short one only where it stood alone. What a handler makes of an owner, such as its beginning, is not found.
//!
//! A handler that looks into owners or attributes may do something else in a replay of it.

use std::collections::HashMap;

use super::exchange::{Answer, Change, Question, Row, Write};
use super::{Before, Owners, Recording, Request};

/// From how many bytes on a text is found also inside of words that a handler has made.
const INSIDE_BYTES_MIN: usize = 3;

/// What stands for a pseudonym or a name where lines are compared.
const MASK: &str = "\u{2022}";

/// The longest key of an attribute that looks like the name of a field, in bytes.
const FIELD_BYTES_MAX: usize = 32;

#[derive(Default)]
struct Pseudonyms {
    of: HashMap<String, String>,
    owners: usize,
    values: usize,
}

impl Recording {
    /// The recording with pseudonyms in the place of owners and attributes.
    #[must_use]
    pub fn without_owners(mut self) -> Self {
        let mut pseudonyms = Pseudonyms::default();
        pseudonyms.all(&mut self);
        let mut known = Known::default();
        for (text, pseudonym) in &pseudonyms.of {
            known.add(text, pseudonym);
        }
        // It stays, whatever is in it, and also if it is an owner.
        known.add(self.request.name(), self.request.name());
        let texts = self
            .log
            .iter_mut()
            .chain(&mut self.outcome.text)
            .chain(&mut self.broke_down);
        texts.for_each(|text| *text = known.replace_in(text));
        self.owners = Owners::Pseudonyms;
        self
    }

    /// What makes two lines of this call comparable, of which one has names where the other has pseudonyms: an owner may be
    /// called as the name is.
    pub fn mask(&self) -> Mask {
        let mut known = Known::default();
        if self.owners == Owners::Pseudonyms {
            let mut texts = Pseudonyms::default();
            texts.all(&mut self.clone());
            texts.of.keys().for_each(|text| known.add(text, MASK));
            known.add(self.request.name(), MASK);
        }
        Mask(known)
    }
}

/// See [`Recording::mask`].
#[derive(Debug)]
pub struct Mask(Known);

impl Mask {
    /// The line as it is compared.
    pub fn of(&self, line: &str) -> String {
        self.0.replace_in(line)
    }
}

/// Texts that are looked for, as they are written in a log, and what stands for each; by their first bytes.
#[derive(Debug, Default)]
struct Known(HashMap<u8, Vec<(String, String)>>);

impl Known {
    fn add(&mut self, text: &str, stands_for_it: &str) {
        let text = text.escape_debug().to_string();
        let Some(first) = text.as_bytes().first() else { return };
        let all = self.0.entry(*first).or_default();
        all.retain(|(known, _)| *known != text);
        // At each place the longest one counts: one owner may be the beginning of another.
        let at = all.partition_point(|(known, _)| known.len() > text.len());
        all.insert(at, (text, stands_for_it.to_owned()));
    }

    fn replace_in(&self, text: &str) -> String {
        let (mut done, mut rest, mut before) = (String::with_capacity(text.len()), text, None);
        while let Some(first) = rest.chars().next() {
            let stands_here = |(original, _): &&(String, String)| {
                rest.strip_prefix(original.as_str())
                    .is_some_and(|after| original.len() >= INSIDE_BYTES_MIN || stands_alone(before, after))
            };
            let all = self.0.get(&rest.as_bytes()[0]).map(Vec::as_slice).unwrap_or_default();
            let taken = if let Some((original, stands_for_it)) = all.iter().find(stands_here) {
                done.push_str(stands_for_it);
                original.len()
            } else {
                done.push(first);
                first.len_utf8()
            };
            before = rest[..taken].chars().next_back();
            rest = &rest[taken..];
        }
        done
    }
}

/// Whether no letter or digit is before and after.
fn stands_alone(before: Option<char>, after: &str) -> bool {
    let is_word = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
    !is_word(before) && !is_word(after.chars().next())
}

impl Pseudonyms {
    fn all(&mut self, recording: &mut Recording) {
        self.request(&mut recording.request);
        for exchange in &mut recording.exchanges {
            self.question(&mut exchange.question);
            if let Some(answer) = &mut exchange.answer {
                self.answer(answer);
            }
        }
        if let Some(Before::Succeeded { registration }) = &mut recording.before {
            self.row(registration);
        }
        if let Some(registration) = &mut recording.outcome.registration {
            self.row(registration);
        }
    }

    fn request(&mut self, request: &mut Request) {
        match request {
            Request::Register { owner, attributes, .. } => {
                self.owner(owner);
                self.attributes(attributes);
            }
            Request::Update { owner, change, .. } => {
                self.owner(owner);
                self.change(change);
            }
            Request::Free { owner, .. } => self.owner(owner),
        }
    }

    fn question(&mut self, question: &mut Question) {
        match question {
            Question::Write(write) => self.write(write),
            Question::Apply { writes } => writes.iter_mut().for_each(|write| self.write(write)),
            Question::List { owner: Some(owner), .. } => self.owner(owner),
            Question::List { owner: None, .. }
            | Question::Acquire { .. }
            | Question::AcquireAll { .. }
            | Question::Release { .. }
            | Question::Drop { .. }
            | Question::Renew { .. }
            | Question::Remaining { .. }
            | Question::Find { .. } => {}
        }
    }

    fn write(&mut self, write: &mut Write) {
        match write {
            Write::Save { owner, attributes, .. } => {
                self.owner(owner);
                self.attributes(attributes);
            }
            Write::Update { change, .. } => self.change(change),
            Write::Free { .. } => {}
        }
    }

    fn answer(&mut self, answer: &mut Answer) {
        match answer {
            Answer::Taken(row) | Answer::Registration(Some(row)) => self.row(row),
            Answer::Registrations(rows) => rows.iter_mut().flatten().for_each(|row| self.row(row)),
            Answer::Page { registrations, .. } => registrations.iter_mut().for_each(|row| self.row(row)),
            Answer::Granted { .. }
            | Answer::NoHandle
            | Answer::Busy(_)
            | Answer::Unavailable(_)
            | Answer::Limit(_)
            | Answer::Invalid(_)
            | Answer::Gone
            | Answer::Unknown
            | Answer::LeaseLost
            | Answer::Done
            | Answer::Remaining(_)
            | Answer::Registration(None)
            | Answer::Freed(_) => {}
        }
    }

    fn row(&mut self, row: &mut Row) {
        self.owner(&mut row.owner);
        self.attributes(&mut row.attributes);
    }

    fn change(&mut self, change: &mut Change) {
        change.owner.iter_mut().for_each(|owner| self.owner(owner));
        change.attributes.iter_mut().for_each(|all| self.attributes(all));
    }

    fn owner(&mut self, owner: &mut String) {
        let owners = &mut self.owners;
        *owner = pseudonym(&mut self.of, owner, || {
            *owners += 1;
            format!("owner-{owners}")
        });
    }

    fn attributes(&mut self, all: &mut [(String, String)]) {
        for (key, value) in all {
            if !is_field(key) || self.of.contains_key(key) {
                self.value(key);
            }
            self.value(value);
        }
    }

    fn value(&mut self, value: &mut String) {
        let values = &mut self.values;
        *value = pseudonym(&mut self.of, value, || {
            *values += 1;
            format!("value-{values}")
        });
    }
}

/// What stands for a text: what stood for it before, or a new one.
fn pseudonym(of: &mut HashMap<String, String>, text: &str, new: impl FnOnce() -> String) -> String {
    if text.is_empty() {
        return String::new();
    }
    if let Some(known) = of.get(text) {
        return known.clone();
    }
    let mut pseudonym = new();
    while pseudonym.len() < text.len() {
        pseudonym.push('.');
    }
    of.insert(text.to_owned(), pseudonym.clone());
    pseudonym
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
