//! The trait that a handler implements, its requests and its rejections.

use std::{fmt, marker::PhantomData, time::Duration};

use crate::{
    bindings::exports::namelock::registration::handler as wit,
    duration::millis,
    lease::{AcquireError, Lost},
    names::{NamesError, Registration, SaveError},
    settings::SettingError,
};

/// A tenant's registration logic. [`export!`](crate::export) exports it from the component.
pub trait Handler {
    /// Registers a name, or rejects the request.
    ///
    /// The result is one of the last 16 registrations that [`find`](crate::find), [`Lease::save`](crate::Lease::save),
    /// [`Lease::update`](crate::Lease::update) and [`apply`](crate::apply) returned in this call; any other is treated
    /// as a trap. If the request has an idempotency key, that goes with the first registration that is saved or
    /// changed, and when the request is sent again it is answered with that one: save first what is returned.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] is the answer to the caller, and its text is shown to them.
    fn register(request: Request) -> Result<Registration, Rejection>;

    /// Frees the name that `owner` has. Freeing a name that has no active registration is not an error.
    ///
    /// # Errors
    ///
    /// As in [`Handler::register`].
    fn free(name: String, owner: String) -> Result<(), Rejection>;
}

/// What a caller asked for, unchanged: the name is neither trimmed nor case-folded, and only its length is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// Who is to have it, 1 to 255 bytes. The host does not check that the caller is this owner: the platform in front
    /// of it does.
    pub owner: String,
    /// How long the caller wishes to have the name, in whole milliseconds; none: the handler decides.
    pub lifetime: Option<Duration>,
    /// What else the caller sent, as (key, value).
    pub attributes: Vec<(String, String)>,
}

/// Why a request is refused. The texts are shown to the caller.
///
/// Every error of this crate converts into the rejection that fits it. The reasons in the `Unavailable` errors are
/// meant for the tenant's log, so the rejection leaves them out: to keep one, write the error to standard error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name is not valid here; the text says why.
    #[error("the name is not valid: {0}")]
    Invalid(String),
    /// The name has an active registration, or is held for its last owner.
    #[error("the name is taken")]
    Taken,
    /// Another call holds the lock on the name.
    #[error("another call is working on the name; try again in {} ms", millis(*retry_after))]
    Busy {
        /// How long to wait before trying again; rounded up to whole milliseconds.
        retry_after: Duration,
    },
    /// The caller may not do this; the text says why.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// It cannot be done now; the text says why.
    #[error("not possible now: {0}")]
    Unavailable(String),
}

impl From<AcquireError> for Rejection {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Busy { retry_after } => Self::Busy { retry_after },
            AcquireError::Unavailable { reason: _ } => Self::Unavailable("the lock service cannot grant".to_owned()),
            AcquireError::Limit { reason } => Self::Unavailable(reason),
            AcquireError::InvalidName { reason } => Self::Invalid(reason),
        }
    }
}

impl From<Lost> for Rejection {
    fn from(_: Lost) -> Self {
        Self::Unavailable(SaveError::LeaseLost.to_string())
    }
}

impl From<NamesError> for Rejection {
    fn from(error: NamesError) -> Self {
        match error {
            NamesError::Unavailable { reason: _ } => Self::Unavailable("the names database does not answer".to_owned()),
            NamesError::Invalid { reason } => Self::Invalid(reason),
        }
    }
}

impl From<SaveError> for Rejection {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Taken(_) => Self::Taken,
            SaveError::LeaseLost => Self::Unavailable(error.to_string()),
            SaveError::Unavailable { reason: _ } => Self::Unavailable(
                "the names database does not answer; the write may or may not have been done".to_owned(),
            ),
            SaveError::Invalid { reason } => Self::Invalid(reason),
        }
    }
}

impl From<SettingError> for Rejection {
    /// Names the setting but leaves its value out: the value may be confidential to the tenant.
    fn from(error: SettingError) -> Self {
        Self::Unavailable(format!("the setting `{}` of this handler cannot be used", error.key()))
    }
}

impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        let wit::Request {
            name,
            owner,
            lifetime_ms,
            attributes,
        } = request;
        Self {
            name,
            owner,
            lifetime: lifetime_ms.map(Duration::from_millis),
            attributes,
        }
    }
}

impl From<Rejection> for wit::Rejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(why) => Self::Invalid(why),
            Rejection::Taken => Self::Taken,
            Rejection::Busy { retry_after } => Self::Busy(millis(retry_after)),
            Rejection::Forbidden(why) => Self::Forbidden(why),
            Rejection::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// Exports a [`Handler`] from the component. A handler's crate calls this exactly once.
///
/// A handler that implements [`Updates`](crate::Updates) too is exported by `export!(Nobody, updates)`.
///
/// On targets other than WebAssembly it only checks that the type implements [`Handler`].
///
/// ```
/// # use namelock_guest::{Registration, Rejection, Request};
/// struct Nobody;
///
/// impl namelock_guest::Handler for Nobody {
///     fn register(_: Request) -> Result<Registration, Rejection> {
///         Err(Rejection::Taken)
///     }
///
///     fn free(_: String, _: String) -> Result<(), Rejection> {
///         Ok(())
///     }
/// }
///
/// namelock_guest::export!(Nobody);
/// ```
#[macro_export]
macro_rules! export {
    ($handler:ty, updates) => {
        $crate::export!($handler);
        const _: () = {
            type Updating = $crate::Exported<$handler>;
            const _: Updating = Updating::LETS_UPDATE;

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::updating::export!(Updating with_types_in $crate::bindings::updating);
        };
    };
    ($handler:ty) => {
        const _: () = {
            type Component = $crate::Exported<$handler>;
            const _: Component = Component::CHECKED;

            // A native linker does not accept the names of a component's exports as symbols.
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}

/// Adapts a [`Handler`] to the bindings of the contract.
pub struct Exported<H>(PhantomData<H>);

impl<H: Handler> Exported<H> {
    /// Compiles only if `H` implements [`Handler`].
    pub const CHECKED: Self = Self(PhantomData);
}

impl<H> fmt::Debug for Exported<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}

impl<H: Handler> wit::Guest for Exported<H> {
    fn register(request: wit::Request) -> Result<Registration, wit::Rejection> {
        Ok(H::register(request.into())?)
    }

    fn free(name: String, owner: String) -> Result<(), wit::Rejection> {
        Ok(H::free(name, owner)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_converts_into_the_rejection_that_fits_it() {
        fn check(error: impl Into<Rejection>, expected: Rejection) {
            assert_eq!(error.into(), expected);
        }
        let reason = || "because".to_owned();
        let invalid = || Rejection::Invalid("because".to_owned());
        let unavailable = |why: &str| Rejection::Unavailable(why.to_owned());
        let retry_after = Duration::from_millis(3);

        check(AcquireError::Busy { retry_after }, Rejection::Busy { retry_after });
        check(
            AcquireError::Unavailable { reason: reason() },
            unavailable("the lock service cannot grant"),
        );
        check(AcquireError::Limit { reason: reason() }, unavailable("because"));
        check(AcquireError::InvalidName { reason: reason() }, invalid());

        check(Lost::Gone, unavailable("the lease on the name was lost"));
        check(Lost::Unknown, unavailable("the lease on the name was lost"));

        check(
            NamesError::Unavailable { reason: reason() },
            unavailable("the names database does not answer"),
        );
        check(NamesError::Invalid { reason: reason() }, invalid());

        let unknown = "the names database does not answer; the write may or may not have been done";
        check(SaveError::Taken(registration()), Rejection::Taken);
        check(SaveError::LeaseLost, unavailable("the lease on the name was lost"));
        check(SaveError::Unavailable { reason: reason() }, unavailable(unknown));
        check(SaveError::Invalid { reason: reason() }, invalid());
    }

    #[test]
    fn a_rejection_does_not_reveal_the_value_of_a_setting() {
        let error = SettingError::Malformed {
            key: "wait_ms".to_owned(),
            value: "secret".to_owned(),
            reason: "invalid digit".to_owned(),
        };
        assert_eq!(
            Rejection::from(error),
            Rejection::Unavailable("the setting `wait_ms` of this handler cannot be used".to_owned())
        );
    }

    #[test]
    fn a_short_retry_time_is_not_rounded_to_zero() {
        let rejection = Rejection::Busy {
            retry_after: Duration::from_micros(1),
        };
        assert_eq!(wit::Rejection::from(rejection), wit::Rejection::Busy(1));
    }

    #[test]
    fn a_lifetime_converts_into_a_duration() {
        let request = wit::Request {
            name: "ada".to_owned(),
            owner: "u1".to_owned(),
            lifetime_ms: Some(1500),
            attributes: Vec::new(),
        };
        assert_eq!(Request::from(request).lifetime, Some(Duration::from_millis(1500)));
    }

    fn registration() -> Registration {
        Registration {
            name: "ada".to_owned(),
            owner: "u1".to_owned(),
            created_ms: 1,
            expires_ms: None,
            fencing_token: 1,
            attributes: Vec::new(),
        }
    }
}
