//! Converts between the types of the WIT and those of the crates below.

use std::time::Duration;

use namelock_account::Limit;
use namelock_names::QuotaKind;
use namelock_types::FencingToken;

use crate::wit::bindings::namelock::registration::names;
use namelock_types::milliseconds;

/// The limit that a quota of the names database is called in the configuration.
pub(crate) fn limit_of(kind: QuotaKind) -> Limit {
    match kind {
        QuotaKind::Registrations => Limit::Registrations,
        QuotaKind::Bytes => Limit::RegistrationBytes,
    }
}

impl From<namelock_names::Registration> for names::Registration {
    fn from(registration: namelock_names::Registration) -> Self {
        Self {
            name: registration.name,
            owner: registration.owner,
            created_ms: registration.created_ms,
            expires_ms: registration.expires_ms,
            fencing_token: registration.fencing_token.get(),
            attributes: registration.attributes,
        }
    }
}

impl From<names::Registration> for namelock_names::Registration {
    fn from(registration: names::Registration) -> Self {
        Self {
            name: registration.name,
            owner: registration.owner,
            created_ms: registration.created_ms,
            expires_ms: registration.expires_ms,
            fencing_token: FencingToken::new(registration.fencing_token),
            attributes: registration.attributes,
        }
    }
}

impl From<namelock_names::Change> for names::Change {
    fn from(change: namelock_names::Change) -> Self {
        Self {
            owner: change.owner,
            lifetime: change.lifetime.map(|lifetime| match lifetime {
                namelock_names::Lifetime::Endless => names::Lifetime::Endless,
                namelock_names::Lifetime::FromNow(time) => names::Lifetime::FromNowMs(milliseconds(time)),
            }),
            attributes: change.attributes,
        }
    }
}

impl From<names::Change> for namelock_names::Change {
    fn from(change: names::Change) -> Self {
        Self {
            owner: change.owner,
            lifetime: change.lifetime.map(|lifetime| match lifetime {
                names::Lifetime::Endless => namelock_names::Lifetime::Endless,
                names::Lifetime::FromNowMs(ms) => namelock_names::Lifetime::FromNow(Duration::from_millis(ms)),
            }),
            attributes: change.attributes,
        }
    }
}
