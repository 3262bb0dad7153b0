//! What a tape gets of a call beside what its guest does: what it is made for, and what comes of it.

use std::time::Duration;

use namelock_names::{NamesError, PastRequest};
use wasmtime::Trap;

use crate::cache::Digest;
use crate::config::Tenant;
use crate::error::CallError;
use crate::recording::{self, About, Before, Limits, Over, Row, Tape, Why};
use crate::request::{Request, UpdateRequest, Written};
use crate::store::Unstoppable;
use crate::trap;
use crate::wit::bindings::namelock::registration::names;
use namelock_types::milliseconds;

/// Which function of the handler a call runs, and its arguments.
pub(crate) enum Operation {
    Register(Request),
    Update(UpdateRequest),
    Free { name: String, owner: String },
}

/// Which component a handler is, and what its engine gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) digest: Digest,
    /// Bytes of the stack.
    pub(crate) stack: usize,
}

/// What is recorded of a call before it begins.
pub(crate) fn about<'a>(
    origin: Origin,
    tenant: &'a Tenant,
    request_id: &'a str,
    operation: &Operation,
    keyed: bool,
) -> About<'a> {
    let limits = &tenant.limits;
    About {
        component: origin.digest.to_string(),
        tenant: &tenant.id,
        request_id,
        request: request(operation),
        keyed,
        settings: tenant.settings.pairs(),
        limits: Limits {
            memory: limits.memory as u64,
            stack: origin.stack as u64,
            cpu_time_ms: milliseconds(limits.cpu_time),
            wall_time_ms: milliseconds(limits.wall_time),
            host_calls: limits.host_calls,
            host_bytes: limits.host_bytes as u64,
            handles: limits.handles as u64,
            random_bytes: limits.random_bytes,
            log_bytes: limits.log_bytes as u64,
        },
    }
}

fn request(operation: &Operation) -> recording::Request {
    match operation {
        Operation::Register(request) => recording::Request::Register {
            name: request.name.clone(),
            owner: request.owner.clone(),
            lifetime_ms: request.lifetime.map(milliseconds),
            attributes: request.attributes.clone(),
        },
        Operation::Update(request) => recording::Request::Update {
            name: request.name.clone(),
            owner: request.owner.clone(),
            change: names::Change::from(request.change.clone()).into(),
        },
        Operation::Free { name, owner } => recording::Request::Free {
            name: name.clone(),
            owner: owner.clone(),
        },
    }
}

impl From<recording::Request> for Operation {
    fn from(request: recording::Request) -> Self {
        match request {
            recording::Request::Register {
                name,
                owner,
                lifetime_ms,
                attributes,
            } => Self::Register(Request {
                name,
                owner,
                lifetime: lifetime_ms.map(Duration::from_millis),
                attributes,
            }),
            recording::Request::Update { name, owner, change } => Self::Update(UpdateRequest {
                name,
                owner,
                change: change.into(),
            }),
            recording::Request::Free { name, owner } => Self::Free { name, owner },
        }
    }
}

/// What was known of a request from before: what the database said, or what it said when the call was recorded.
pub(crate) fn past(tape: &Tape, found: Result<PastRequest, NamesError>) -> Result<PastRequest, NamesError> {
    if let Some(known) = tape.known_before() {
        return match known {
            None => Ok(PastRequest::Unknown),
            Some(Before::Succeeded { registration }) => Ok(PastRequest::Replayed(Box::new(registration.into()))),
            Some(Before::KeyReused) => Ok(PastRequest::KeyReused),
            Some(Before::Unknown) => Err(NamesError::unavailable("it did not answer when the call was recorded")),
        };
    }
    if tape.is_on() {
        let before = match &found {
            Ok(PastRequest::Unknown) => None,
            Ok(PastRequest::Replayed(registration)) => Some(Before::Succeeded {
                registration: Row::from((**registration).clone()),
            }),
            Ok(PastRequest::KeyReused) => Some(Before::KeyReused),
            Err(_) => Some(Before::Unknown),
        };
        before.into_iter().for_each(|before| tape.found_before(before));
    }
    found
}

/// Notes what came of a call.
pub(crate) fn outcome(tape: &Tape, outcome: &Result<Option<Written>, CallError>) {
    if !tape.is_on() {
        return;
    }
    match outcome {
        Ok(written) => {
            let registration = written.as_ref().map(|written| Row::from(written.registration.clone()));
            tape.outcome(None, registration);
        }
        Err(error) => tape.outcome(Some(error.to_string()), None),
    }
}

/// Why the host ended a call that broke down, if it is the time that it took.
pub(crate) fn time_over(error: &wasmtime::Error) -> Option<Why> {
    if error.downcast_ref::<Unstoppable>().is_some() {
        return Some(Why::Unstoppable);
    }
    matches!(error.downcast_ref(), Some(Trap::Interrupt)).then_some(Why::CpuTime)
}

/// The error of a call that took as long as it may.
pub(crate) fn wall_time_over(tenant: &Tenant) -> CallError {
    CallError::Deadline {
        limit: "wall time",
        time: tenant.limits.wall_time,
    }
}

/// How a replayed call ends that the host ends.
pub(crate) fn replay_over(over: Over, tenant: &Tenant) -> CallError {
    match over {
        Over::Ended(Why::LeaseLost) => CallError::LeaseLost,
        Over::Ended(Why::WallTime) => wall_time_over(tenant),
        Over::Ended(Why::CpuTime) => trap::cpu_time_over(tenant),
        Over::Ended(Why::Unstoppable) => CallError::Trapped(Box::new(Unstoppable)),
        Over::Differs(difference) => CallError::Differs(difference),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::recording::tests::recording;

    fn registration() -> namelock_names::Registration {
        Row {
            name: "blue".to_owned(),
            owner: "annabel".to_owned(),
            created_ms: 1,
            expires_ms: None,
            fencing_token: 2,
            attributes: Vec::new(),
        }
        .into()
    }

    fn found(known: Option<&Before>) -> Result<PastRequest, NamesError> {
        match known {
            None => Ok(PastRequest::Unknown),
            Some(Before::Succeeded { .. }) => Ok(PastRequest::Replayed(Box::new(registration()))),
            Some(Before::KeyReused) => Ok(PastRequest::KeyReused),
            Some(Before::Unknown) => Err(NamesError::unavailable("it stands still")),
        }
    }

    #[test]
    fn what_was_known_of_a_request_is_recorded_and_known_in_a_replay() {
        let registration = Row::from(registration());
        for known in [
            None,
            Some(Before::Succeeded { registration }),
            Some(Before::KeyReused),
            Some(Before::Unknown),
        ] {
            let tape = Tape::recording(1 << 20).unwrap();
            let limits = recording().limits;
            tape.begin(|| About {
                component: "00".to_owned(),
                tenant: "t",
                request_id: "r",
                request: recording().request,
                keyed: true,
                settings: Vec::new(),
                limits,
            });
            let same = |one: Result<PastRequest, NamesError>| format!("{:?}", one.map_err(drop));
            let expect = same(found(known.as_ref()));
            assert_eq!(same(past(&tape, found(known.as_ref()))), expect);
            let recorded = tape.finish("ok").unwrap().unwrap();
            assert_eq!(recorded.before, known);

            // No database is asked in a replay, so what it would say does not matter.
            let tape = Tape::replaying(Arc::new(recorded), true).unwrap();
            assert_eq!(same(past(&tape, Ok(PastRequest::KeyReused))), expect);
        }
    }
}
