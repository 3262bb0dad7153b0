//! The texts of a recording that callers have written: owners and attributes.

use super::exchange::{Answer, Change, Question, Row, Write};
use super::{Before, Recording, Request};

/// What such a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Owner,
    /// That of an attribute.
    Key,
    Value,
}

/// Shows texts to whoever wants to see or change them.
pub(super) struct Texts<'a>(&'a mut dyn FnMut(Kind, &mut String));

impl Texts<'_> {
    /// Shows each text, in the order in which the call met them.
    pub(super) fn each(recording: &mut Recording, see: &mut dyn FnMut(Kind, &mut String)) {
        let mut texts = Texts(see);
        texts.request(&mut recording.request);
        for exchange in &mut recording.exchanges {
            texts.question(&mut exchange.question);
            if let Some(answer) = &mut exchange.answer {
                texts.answer(answer);
            }
        }
        if let Some(Before::Succeeded { registration }) = &mut recording.before {
            texts.row(registration);
        }
        if let Some(registration) = &mut recording.outcome.registration {
            texts.row(registration);
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
        (self.0)(Kind::Owner, owner);
    }

    fn attributes(&mut self, all: &mut [(String, String)]) {
        for (key, value) in all {
            (self.0)(Kind::Key, key);
            (self.0)(Kind::Value, value);
        }
    }
}
