//! What a guest can ask of the lock and of the names database, and what it is told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One question, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// What the component asked.
    pub question: Question,
    /// What it was told; none: the call ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What the host noted for the code of a call that gives up; none: nothing else than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<Noted>,
    /// For how many milliseconds the name that the call wanted to save last is held for its last owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
}

/// What a component asks; a lease is called by its name, of which a call has one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// `locks.acquire`.
    Acquire {
        /// The name.
        name: String,
        /// How long it wants to wait.
        wait_ms: u32,
    },
    /// `locks.acquire-all`.
    AcquireAll {
        /// The names.
        names: Vec<String>,
        /// How long it wants to wait.
        wait_ms: u32,
    },
    /// `locks.release`.
    Release {
        /// The lease.
        lease: String,
    },
    /// A lease is dropped.
    Drop {
        /// The lease.
        lease: String,
    },
    /// `lease.renew`.
    Renew {
        /// The lease.
        lease: String,
    },
    /// `lease.remaining-ms`.
    Remaining {
        /// The lease.
        lease: String,
    },
    /// `names.find`.
    Find {
        /// The name.
        name: String,
    },
    /// `names.save`, `names.update` or `names.free`.
    Write(Write),
    /// `names.apply`.
    Apply {
        /// The writes.
        writes: Vec<Write>,
    },
    /// `names.list`.
    List {
        /// How the names begin.
        prefix: String,
        /// Whose they are.
        owner: Option<String>,
        /// Behind which name.
        after: Option<String>,
        /// How many.
        limit: u32,
    },
}

/// A write, alone or one of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Write {
    /// `names.save`.
    Save {
        /// The lease.
        lease: String,
        /// Who is to have the name.
        owner: String,
        /// For how long.
        lifetime_ms: Option<u64>,
        /// What else is saved.
        attributes: Vec<(String, String)>,
    },
    /// `names.update`.
    Update {
        /// The lease.
        lease: String,
        /// What changes.
        change: Change,
    },
    /// `names.free`.
    Free {
        /// The lease.
        lease: String,
    },
}

/// What changes of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Who is to have it; none: as before.
    pub owner: Option<String>,
    /// How long it lasts; none: as before.
    pub lifetime: Option<Lifetime>,
    /// All that is saved with it; none: as before.
    pub attributes: Option<Vec<(String, String)>>,
}

/// How long a registration lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// Until it is freed.
    Endless,
    /// For so many milliseconds.
    FromNowMs(u64),
}

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The name.
    pub name: String,
    /// Who has it.
    pub owner: String,
    /// When it was saved.
    pub created_ms: u64,
    /// When it ends.
    pub expires_ms: Option<u64>,
    /// The fencing token of the lease that wrote it.
    pub fencing_token: u64,
    /// What else is saved.
    pub attributes: Vec<(String, String)>,
}

/// What a component is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// It has the leases that it asked for.
    Granted {
        /// Their fencing tokens, in the order of the names.
        fencing_tokens: Vec<u64>,
    },
    /// The call has no room for the handle of what it asked for, which ends it.
    NoHandle,
    /// Somebody has the name, for about so many milliseconds.
    Busy(u64),
    /// The service does not answer.
    Unavailable(String),
    /// The call has as many leases as it may.
    Limit(String),
    /// What was asked breaks a rule.
    Invalid(String),
    /// The lease is not held any more.
    Gone,
    /// It is not known whether the lease is held.
    Unknown,
    /// The lease does not suffice for a write.
    LeaseLost,
    /// The name has this registration.
    Taken(Row),
    /// It was done.
    Done,
    /// So many milliseconds.
    Remaining(u64),
    /// What was found, saved or changed.
    Registration(Option<Row>),
    /// Whether there was a registration that was freed.
    Freed(bool),
    /// What several writes have left.
    Registrations(Vec<Option<Row>>),
    /// A page of a list.
    Page {
        /// The registrations.
        registrations: Vec<Row>,
        /// Behind which name the next page begins.
        next: Option<String>,
    },
}

/// What the host notes of a failure, for the code of a call that gives up because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Noted {
    /// The lock service could not grant.
    LockUnavailable {
        /// When it may again.
        after_ms: Option<u64>,
    },
    /// The names database did not answer.
    NamesUnavailable,
    /// A lease was lost.
    LeaseLost,
    /// A limit was reached.
    Limit {
        /// Its key in the section `limits`.
        limit: String,
        /// When more may be asked for.
        after_ms: Option<u64>,
    },
}

impl Question {
    /// What it asks for, without its details.
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Acquire { name, .. } => ("acquire", name),
            Self::AcquireAll { names, .. } => ("acquire-all", names.first().map_or("", String::as_str)),
            Self::Release { lease } => ("release", lease),
            Self::Drop { lease } => ("drop", lease),
            Self::Renew { lease } => ("renew", lease),
            Self::Remaining { lease } => ("remaining-ms", lease),
            Self::Find { name } => ("find", name),
            Self::Write(Write::Save { lease, .. }) => ("save", lease),
            Self::Write(Write::Update { lease, .. }) => ("update", lease),
            Self::Write(Write::Free { lease }) => ("free", lease),
            Self::Apply { .. } => ("apply", ""),
            Self::List { prefix, .. } => ("list", prefix),
        }
    }

    /// Says in what this differs from what was recorded.
    pub(super) fn instead_of(&self, recorded: &Self) -> String {
        let (asked, was) = if self.parts() == recorded.parts() {
            (format!("{self:?}"), format!("{recorded:?}"))
        } else {
            (format!("`{self}`"), format!("`{recorded}`"))
        };
        format!("the component asked {asked} where {was} was recorded")
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        BASE_BYTES
            + match self {
                Self::Acquire { name, .. } | Self::Find { name } => name.len(),
                Self::AcquireAll { names, .. } => names.iter().map(|name| name.len() + WORD_BYTES).sum(),
                Self::Release { lease } | Self::Drop { lease } | Self::Renew { lease } | Self::Remaining { lease } => {
                    lease.len()
                }
                Self::Write(write) => write.bytes(),
                Self::Apply { writes } => writes.iter().map(|write| BASE_BYTES + write.bytes()).sum(),
                Self::List {
                    prefix, owner, after, ..
                } => {
                    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                    prefix.len() + length(owner) + length(after)
                }
            }
    }
}

impl Write {
    /// About how many bytes its texts take.
    fn bytes(&self) -> usize {
        match self {
            Self::Save {
                lease,
                owner,
                attributes,
                ..
            } => lease.len() + owner.len() + pairs_bytes(attributes),
            Self::Update { lease, change } => {
                let owner = change.owner.as_ref().map_or(0, String::len);
                lease.len() + owner + change.attributes.as_deref().map_or(0, pairs_bytes)
            }
            Self::Free { lease } => lease.len(),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.parts()) {
            (Self::Apply { writes }, (what, _)) => write!(f, "{what} of {} writes", writes.len()),
            (Self::AcquireAll { names, .. }, (what, _)) => write!(f, "{what} {names:?}"),
            (_, (what, name)) => write!(f, "{what} {name:?}"),
        }
    }
}

impl Answer {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        BASE_BYTES
            + match self {
                Self::Granted { fencing_tokens } => fencing_tokens.len() * WORD_BYTES,
                Self::Unavailable(text) | Self::Limit(text) | Self::Invalid(text) => text.len(),
                Self::Taken(row) | Self::Registration(Some(row)) => row.bytes(),
                Self::Registrations(rows) => rows.iter().flatten().map(Row::bytes).sum(),
                Self::Page { registrations, next } => {
                    registrations.iter().map(Row::bytes).sum::<usize>() + next.as_ref().map_or(0, String::len)
                }
                Self::NoHandle
                | Self::Busy(_)
                | Self::Gone
                | Self::Unknown
                | Self::LeaseLost
                | Self::Done
                | Self::Remaining(_)
                | Self::Registration(None)
                | Self::Freed(_) => 0,
            }
    }
}

impl Row {
    pub(super) fn bytes(&self) -> usize {
        BASE_BYTES + self.name.len() + self.owner.len() + pairs_bytes(&self.attributes)
    }
}

/// About what an exchange takes beside its texts, and what a number or the frame of a text does.
const BASE_BYTES: usize = 128;
pub(super) const WORD_BYTES: usize = 24;

/// About how many bytes attributes or settings take.
pub(super) fn pairs_bytes(all: &[(String, String)]) -> usize {
    all.iter()
        .map(|(key, value)| key.len() + value.len() + 2 * WORD_BYTES)
        .sum()
}
