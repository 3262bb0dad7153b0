//! The tenant's registrations: find and list, save, update and free, one at a time or several at once.

use std::time::Duration;

use crate::{bindings::namelock::registration::names as wit, duration::millis, host::names as host, lease::Lease};

pub use wit::Registration;

/// Finds the active registration of `name`. This needs no lease.
///
/// # Errors
///
/// [`NamesError`] if the database does not answer, or if `name` is not 1 to 255 bytes long.
pub fn find(name: &str) -> Result<Option<Registration>, NamesError> {
    Ok(host::find(name)?)
}

/// Which registrations [`list`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Those whose name begins with this, byte for byte, at most 255 bytes; empty: all.
    pub prefix: String,
    /// Those of this owner; none: of every owner.
    pub owner: Option<String>,
    /// Those behind this name, in the order of the names' bytes: [`Page::next`] of the page before; none: from the
    /// first one.
    pub after: Option<String>,
    /// How many at most, 1 to 1000.
    pub limit: u32,
}

impl Default for Query {
    /// The first 100 of all.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            owner: None,
            after: None,
            limit: 100,
        }
    }
}

/// Some registrations, in the order of their names' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The registrations. There may be fewer than the limit, even none, where others follow.
    pub registrations: Vec<Registration>,
    /// Behind which name the next page begins; none: this is the last page.
    pub next: Option<String>,
}

/// Lists active registrations, page by page. This needs no lease.
///
/// A name that has a registration from the first page to the last is listed exactly once, whatever is written
/// meanwhile. A handler cannot return a registration that it has only from here; [`find`] it.
///
/// # Errors
///
/// [`NamesError`] if the database does not answer, or if a part of the query breaks a rule.
pub fn list(query: &Query) -> Result<Page, NamesError> {
    let Query {
        prefix,
        owner,
        after,
        limit,
    } = query.clone();
    let page = host::list(&wit::Query {
        prefix,
        owner,
        after,
        limit,
    })?;
    Ok(Page {
        registrations: page.registrations,
        next: page.next,
    })
}

/// What is to become of a registration; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Who is to have the name, 1 to 255 bytes.
    pub owner: Option<String>,
    /// When it is to end.
    pub lifetime: Option<Lifetime>,
    /// All of its attributes, in the place of those that it has.
    pub attributes: Option<Vec<(String, String)>>,
}

/// How long a registration lasts from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It does not end by itself.
    Endless,
    /// It ends this long after the change, rounded up to whole milliseconds; at most 100 years.
    FromNow(Duration),
}

impl From<Change> for wit::Change {
    fn from(change: Change) -> Self {
        Self {
            owner: change.owner,
            lifetime: change.lifetime.map(|lifetime| match lifetime {
                Lifetime::Endless => wit::Lifetime::Endless,
                Lifetime::FromNow(time) => wit::Lifetime::FromNowMs(millis(time)),
            }),
            attributes: change.attributes,
        }
    }
}

impl From<wit::Change> for Change {
    fn from(change: wit::Change) -> Self {
        Self {
            owner: change.owner,
            lifetime: change.lifetime.map(|lifetime| match lifetime {
                wit::Lifetime::Endless => Lifetime::Endless,
                wit::Lifetime::FromNowMs(ms) => Lifetime::FromNow(Duration::from_millis(ms)),
            }),
            attributes: change.attributes,
        }
    }
}

/// One of several writes that are done together, by [`apply`].
#[derive(Debug)]
pub struct Write<'a>(host::Write<'a>);

impl<'a> Write<'a> {
    /// Saves a registration, as [`Lease::save`] does.
    pub fn save(lease: &'a Lease, owner: &str, lifetime: Option<Duration>, attributes: &[(String, String)]) -> Self {
        Self::new(
            lease,
            wit::Action::Save(wit::New {
                owner: owner.to_owned(),
                lifetime_ms: lifetime.map(millis),
                attributes: attributes.to_vec(),
            }),
        )
    }

    /// Changes the active registration, as [`Lease::update`] does.
    pub fn update(lease: &'a Lease, change: Change) -> Self {
        Self::new(lease, wit::Action::Update(change.into()))
    }

    /// Ends the active registration, as [`Lease::free`] does.
    pub fn free(lease: &'a Lease) -> Self {
        Self::new(lease, wit::Action::Free)
    }

    fn new(lease: &'a Lease, action: wit::Action) -> Self {
        let lease = &lease.0;
        Self(host::Write { lease, action })
    }
}

/// Does several writes in one transaction, all of them or none, each under a lease of its own, and no two for one name:
/// as many as a call may hold leases, and at most 16.
///
/// Returns, in the order of the writes, the registration that was saved or changed; none for one that frees.
///
/// # Errors
///
/// [`SaveError`] says what prevented all of them. [`SaveError::Taken`] has the registration that is in the way of a
/// save. A name to change or to free that has no active registration is [`SaveError::Invalid`].
pub fn apply(writes: Vec<Write<'_>>) -> Result<Vec<Option<Registration>>, SaveError> {
    let writes: Vec<_> = writes.into_iter().map(|write| write.0).collect();
    Ok(host::apply(&writes)?)
}

impl Lease {
    /// Changes the active registration of this lease's name, and returns it as it is then; none: the name has no active
    /// registration.
    ///
    /// Its `created_ms` stays; its fencing token is that of this lease. The change is durable when this returns.
    /// Whether the caller may make it is for the handler to check.
    ///
    /// # Errors
    ///
    /// [`SaveError`] says what prevented the write; it is [`SaveError::Taken`] only if the request of this call has
    /// succeeded before.
    pub fn update(&self, change: Change) -> Result<Option<Registration>, SaveError> {
        Ok(host::update(&self.0, &change.into())?)
    }

    /// Saves a registration of this lease's name. It begins now and lasts `lifetime`; none: without end.
    ///
    /// The registration is durable when this returns. `lifetime` is rounded up to whole milliseconds, and is at most
    /// 100 years; a lifetime of zero is refused.
    ///
    /// # Errors
    ///
    /// [`SaveError::Taken`] if the name has an active registration, as the database decides in the transaction that
    /// writes. The other cases of [`SaveError`] say what prevented the write.
    pub fn save(
        &self,
        owner: &str,
        lifetime: Option<Duration>,
        attributes: &[(String, String)],
    ) -> Result<Registration, SaveError> {
        Ok(host::save(&self.0, owner, lifetime.map(millis), attributes)?)
    }

    /// Ends the active registration of this lease's name, now. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`SaveError`] says what prevented the write; it is never [`SaveError::Taken`].
    pub fn free(&self) -> Result<bool, SaveError> {
        Ok(host::free(&self.0)?)
    }
}

/// Why the names database could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// The database does not answer.
    #[error("the names database does not answer: {reason}")]
    Unavailable {
        /// What failed; meant for the tenant's log.
        reason: String,
    },
    /// The name is empty or longer than 255 bytes, or a part of a query breaks a rule.
    #[error("the question is not valid: {reason}")]
    Invalid {
        /// Which of these it is.
        reason: String,
    },
}

impl From<wit::NamesError> for NamesError {
    fn from(error: wit::NamesError) -> Self {
        match error {
            wit::NamesError::Unavailable(reason) => Self::Unavailable { reason },
            wit::NamesError::Invalid(reason) => Self::Invalid { reason },
        }
    }
}

/// Why nothing was written, or why it is unknown whether something was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The name has this active registration. Or this one has ended, and its name is held for its owner.
    ///
    /// It is also the answer if the request of this call has succeeded before, with this registration. Then the host
    /// answers the caller with it, whatever the handler returns.
    #[error("the name is taken")]
    Taken(Registration),
    /// The lease is lost, or does not last as long as a write may take, or the name has been granted to another holder
    /// since, or the registration is not the one any more that this call has received last under the lease.
    #[error("the lease on the name was lost")]
    LeaseLost,
    /// The database does not answer. The write may or may not have been done. Or the tenant is at a limit; then nothing
    /// was written.
    #[error("the names database does not answer, and the write may or may not have been done: {reason}")]
    Unavailable {
        /// What failed; meant for the tenant's log.
        reason: String,
    },
    /// The owner, the lifetime or the attributes break a rule, or [`apply`] was given what it cannot do as one.
    #[error("this cannot be saved: {reason}")]
    Invalid {
        /// Which of them, and which rule.
        reason: String,
    },
}

impl From<wit::SaveError> for SaveError {
    fn from(error: wit::SaveError) -> Self {
        match error {
            wit::SaveError::Taken(registration) => Self::Taken(registration),
            wit::SaveError::LeaseLost => Self::LeaseLost,
            wit::SaveError::Unavailable(reason) => Self::Unavailable { reason },
            wit::SaveError::Invalid(reason) => Self::Invalid { reason },
        }
    }
}
