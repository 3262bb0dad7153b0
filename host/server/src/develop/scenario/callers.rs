//! What each of several callers sends, who take one step at once.

use std::collections::BTreeMap;

use super::file::{Ask, Expect, Request};

/// What stands for the number of a caller.
const NUMBER: &str = "{n}";

impl Ask {
    /// What is asked for, as in the file.
    pub(super) fn verb(&self) -> &'static str {
        match self.request {
            Request::Register { .. } => "register",
            Request::Update { .. } => "update",
            Request::Free { .. } => "free",
            Request::Find => "find",
        }
    }

    /// What one of several callers sends, and what it is to get.
    pub(super) fn of_caller(&self, number: usize) -> Self {
        let number = number.to_string();
        let fill = |text: &mut String| *text = text.replace(NUMBER, &number);
        let mut ask = self.clone();
        let Expect {
            name,
            owner,
            detail,
            attributes,
            ..
        } = &mut ask.expect;
        for text in [&mut ask.key, name, owner, detail].into_iter().flatten() {
            fill(text);
        }
        fill(&mut ask.name);
        let sent = match &mut ask.request {
            Request::Register { owner, attributes, .. } => {
                fill(owner);
                Some(attributes)
            }
            Request::Update {
                owner,
                new_owner,
                attributes,
                ..
            } => {
                fill(owner);
                new_owner.iter_mut().for_each(fill);
                attributes.as_mut()
            }
            Request::Free { owner } => {
                fill(owner);
                None
            }
            Request::Find => None,
        };
        sent.into_iter()
            .chain(attributes)
            .flat_map(BTreeMap::values_mut)
            .for_each(fill);
        ask
    }
}
