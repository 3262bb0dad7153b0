//! The interfaces `locks` and `names` as a guest has them: a tape stands between it and the views that ask the services
//! (`taped_locks`, `taped_names`).
//!
//! A tape that is off costs one branch. One that records notes each question before it is passed on, because the call may end
//! while it waits for the answer. One that replays has the answers, and no service is asked. Leases are then handles that stand
//! for nothing but their names.

use std::collections::HashMap;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Error, Result};

use crate::error::Cause;
use crate::phases::Phases;
use crate::recording::{Answer, Play, Question, Tape};
use crate::wit::told::{self, Told};
use namelock_wasmtime::LeaseHandle;

/// A view with the tape of its call.
pub(crate) struct Taped<'a, V> {
    pub(crate) tape: &'a Tape,
    pub(crate) phases: &'a Phases,
    pub(crate) grants: &'a mut Grants,
    pub(crate) view: V,
}

/// The name and the fencing token of each lease whose handle the guest has, if there is a tape.
#[derive(Debug, Default)]
pub(crate) struct Grants(HashMap<u32, (String, u64)>);

/// The answer of a recording, with what the host noted, and for how long a name is held; none: the service is to be asked.
pub(super) async fn played(
    tape: &Tape,
    question: Question,
    cause: &mut Option<Cause>,
) -> Option<(Answer, Option<u64>)> {
    match tape.ask(|| question) {
        Play::Ask => None,
        Play::Told { answer, noted, held_ms } => {
            if let Some(noted) = noted.as_ref().and_then(told::cause) {
                *cause = Some(noted);
            }
            Some((answer, held_ms))
        }
        // The call is ended while it waits.
        Play::Over => std::future::pending().await,
    }
}

pub(super) fn returned<T: Told>(answer: Answer) -> Result<T> {
    T::of(answer).ok_or_else(|| Error::msg("the recording has an answer that is none to this question"))
}

impl Grants {
    pub(super) fn lease(&self, handle: &Resource<LeaseHandle>) -> String {
        self.0
            .get(&handle.rep())
            .map(|(name, _)| name.clone())
            .unwrap_or_default()
    }

    /// The fencing token of a lease; 0: it has none.
    pub(super) fn fencing_token(&self, handle: &Resource<LeaseHandle>) -> u64 {
        self.0.get(&handle.rep()).map_or(0, |(_, token)| *token)
    }

    pub(super) fn forget(&mut self, handle: &Resource<LeaseHandle>) {
        self.0.remove(&handle.rep());
    }

    pub(super) fn note(&mut self, names: &[String], leases: &[Resource<LeaseHandle>], tokens: &[u64]) {
        for ((name, lease), token) in names.iter().zip(leases).zip(tokens) {
            self.0.insert(lease.rep(), (name.clone(), *token));
        }
    }

    /// Makes handles of leases that were granted in the recorded call.
    pub(super) fn replay(
        &mut self,
        table: &mut ResourceTable,
        names: &[String],
        tokens: &[u64],
    ) -> Result<Vec<Resource<LeaseHandle>>> {
        let leases = names.iter().map(|_| table.push(LeaseHandle::of_none()));
        let leases = leases.collect::<std::result::Result<Vec<_>, _>>()?;
        self.note(names, &leases, tokens);
        Ok(leases)
    }
}
