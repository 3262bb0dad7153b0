//! Converts what a guest is told to what a recording has, and back.

use std::time::Duration;

use namelock_account::Limit;
use namelock_types::FencingToken;

use crate::error::Cause;
use crate::recording::{self, Answer, Noted, Row, Write};
use crate::wit::bindings::namelock::registration::names::{self, Change, NamesError, Page, Registration, SaveError};
use namelock_types::milliseconds;
use namelock_wasmtime::bindings::namelock::registration::locks::{AcquireError, Lost};

/// What a function of the host returns to a guest.
pub(super) trait Told: Sized {
    fn answer(&self) -> Answer;

    /// None: the function cannot be answered like this.
    fn of(answer: Answer) -> Option<Self>;
}

/// What a function returns that did what it was asked for; its errors are [`Told`] too.
pub(super) trait Value: Sized {
    fn answer(&self) -> Answer;

    fn of(answer: &Answer) -> Option<Self>;
}

impl<T: Value, E: Told> Told for Result<T, E> {
    fn answer(&self) -> Answer {
        match self {
            Ok(value) => value.answer(),
            Err(error) => error.answer(),
        }
    }

    fn of(answer: Answer) -> Option<Self> {
        T::of(&answer).map(Ok).or_else(|| E::of(answer).map(Err))
    }
}

impl Told for u64 {
    fn answer(&self) -> Answer {
        Answer::Remaining(*self)
    }

    fn of(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Remaining(ms) => Some(ms),
            _ => None,
        }
    }
}

impl Told for () {
    fn answer(&self) -> Answer {
        Answer::Done
    }

    fn of(answer: Answer) -> Option<Self> {
        Value::of(&answer)
    }
}

impl Value for () {
    fn answer(&self) -> Answer {
        Answer::Done
    }

    fn of(answer: &Answer) -> Option<Self> {
        matches!(answer, Answer::Done).then_some(())
    }
}

impl Value for bool {
    fn answer(&self) -> Answer {
        Answer::Freed(*self)
    }

    fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Freed(was_there) => Some(*was_there),
            _ => None,
        }
    }
}

impl Value for Option<Registration> {
    fn answer(&self) -> Answer {
        Answer::Registration(self.as_ref().map(Row::from))
    }

    fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Registration(row) => Some(row.clone().map(Registration::from)),
            _ => None,
        }
    }
}

impl Value for Registration {
    fn answer(&self) -> Answer {
        Answer::Registration(Some(self.into()))
    }

    fn of(answer: &Answer) -> Option<Self> {
        <Option<Self> as Value>::of(answer)?
    }
}

impl Value for Vec<Option<Registration>> {
    fn answer(&self) -> Answer {
        Answer::Registrations(self.iter().map(|one| one.as_ref().map(Row::from)).collect())
    }

    fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Registrations(rows) => Some(rows.iter().map(|row| row.clone().map(Registration::from)).collect()),
            _ => None,
        }
    }
}

impl Value for Page {
    fn answer(&self) -> Answer {
        Answer::Page {
            registrations: self.registrations.iter().map(Row::from).collect(),
            next: self.next.clone(),
        }
    }

    fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Page { registrations, next } => Some(Self {
                registrations: registrations.iter().cloned().map(Registration::from).collect(),
                next: next.clone(),
            }),
            _ => None,
        }
    }
}

impl Told for AcquireError {
    fn answer(&self) -> Answer {
        match self {
            Self::Busy(ms) => Answer::Busy(*ms),
            Self::Unavailable(text) => Answer::Unavailable(text.clone()),
            Self::Limit(text) => Answer::Limit(text.clone()),
            Self::InvalidName(text) => Answer::Invalid(text.clone()),
        }
    }

    fn of(answer: Answer) -> Option<Self> {
        Some(match answer {
            Answer::Busy(ms) => Self::Busy(ms),
            Answer::Unavailable(text) => Self::Unavailable(text),
            Answer::Limit(text) => Self::Limit(text),
            Answer::Invalid(text) => Self::InvalidName(text),
            _ => return None,
        })
    }
}

impl Told for Lost {
    fn answer(&self) -> Answer {
        match self {
            Self::Gone => Answer::Gone,
            Self::Unknown => Answer::Unknown,
        }
    }

    fn of(answer: Answer) -> Option<Self> {
        Some(match answer {
            Answer::Gone => Self::Gone,
            Answer::Unknown => Self::Unknown,
            _ => return None,
        })
    }
}

impl Told for NamesError {
    fn answer(&self) -> Answer {
        match self {
            Self::Unavailable(text) => Answer::Unavailable(text.clone()),
            Self::Invalid(text) => Answer::Invalid(text.clone()),
        }
    }

    fn of(answer: Answer) -> Option<Self> {
        Some(match answer {
            Answer::Unavailable(text) => Self::Unavailable(text),
            Answer::Invalid(text) => Self::Invalid(text),
            _ => return None,
        })
    }
}

impl Told for SaveError {
    fn answer(&self) -> Answer {
        match self {
            Self::Taken(registration) => Answer::Taken(registration.into()),
            Self::LeaseLost => Answer::LeaseLost,
            Self::Unavailable(text) => Answer::Unavailable(text.clone()),
            Self::Invalid(text) => Answer::Invalid(text.clone()),
        }
    }

    fn of(answer: Answer) -> Option<Self> {
        Some(match answer {
            Answer::Taken(row) => Self::Taken(row.into()),
            Answer::LeaseLost => Self::LeaseLost,
            Answer::Unavailable(text) => Self::Unavailable(text),
            Answer::Invalid(text) => Self::Invalid(text),
            _ => return None,
        })
    }
}

impl From<&Registration> for Row {
    fn from(registration: &Registration) -> Self {
        registration.clone().into()
    }
}

impl From<Registration> for Row {
    fn from(registration: Registration) -> Self {
        Self {
            name: registration.name,
            owner: registration.owner,
            created_ms: registration.created_ms,
            expires_ms: registration.expires_ms,
            fencing_token: registration.fencing_token,
            attributes: registration.attributes,
        }
    }
}

impl From<Row> for Registration {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            owner: row.owner,
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
            fencing_token: row.fencing_token,
            attributes: row.attributes,
        }
    }
}

impl From<Row> for namelock_names::Registration {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            owner: row.owner,
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
            fencing_token: FencingToken::new(row.fencing_token),
            attributes: row.attributes,
        }
    }
}

impl From<namelock_names::Registration> for Row {
    fn from(registration: namelock_names::Registration) -> Self {
        Registration::from(registration).into()
    }
}

impl From<Change> for recording::Change {
    fn from(change: Change) -> Self {
        Self {
            owner: change.owner,
            lifetime: change.lifetime.map(|lifetime| match lifetime {
                names::Lifetime::Endless => recording::Lifetime::Endless,
                names::Lifetime::FromNowMs(ms) => recording::Lifetime::FromNowMs(ms),
            }),
            attributes: change.attributes,
        }
    }
}

impl From<recording::Change> for namelock_names::Change {
    fn from(change: recording::Change) -> Self {
        Self {
            owner: change.owner,
            lifetime: change.lifetime.map(|lifetime| match lifetime {
                recording::Lifetime::Endless => namelock_names::Lifetime::Endless,
                recording::Lifetime::FromNowMs(ms) => namelock_names::Lifetime::FromNow(Duration::from_millis(ms)),
            }),
            attributes: change.attributes,
        }
    }
}

impl From<Cause> for Noted {
    fn from(cause: Cause) -> Self {
        let ms = |after: Option<Duration>| after.map(milliseconds);
        match cause {
            Cause::LockUnavailable(after) => Self::LockUnavailable { after_ms: ms(after) },
            Cause::NamesUnavailable => Self::NamesUnavailable,
            Cause::LeaseLost => Self::LeaseLost,
            Cause::Limit(limit, after) => Self::Limit {
                limit: limit.key().to_owned(),
                after_ms: ms(after),
            },
        }
    }
}

/// What was noted; none: a limit that this program does not have.
pub(super) fn cause(noted: &Noted) -> Option<Cause> {
    let time = |ms: &Option<u64>| ms.map(Duration::from_millis);
    Some(match noted {
        Noted::LockUnavailable { after_ms } => Cause::LockUnavailable(time(after_ms)),
        Noted::NamesUnavailable => Cause::NamesUnavailable,
        Noted::LeaseLost => Cause::LeaseLost,
        Noted::Limit { limit, after_ms } => {
            let limit = Limit::ALL.into_iter().find(|known| known.key() == limit)?;
            Cause::Limit(limit, time(after_ms))
        }
    })
}

/// One of several writes under this lease.
pub(super) fn write(lease: String, action: names::Action) -> Write {
    match action {
        names::Action::Save(new) => Write::Save {
            lease,
            owner: new.owner,
            lifetime_ms: new.lifetime_ms,
            attributes: new.attributes,
        },
        names::Action::Update(change) => Write::Update {
            lease,
            change: change.into(),
        },
        names::Action::Free => Write::Free { lease },
    }
}
