//! Changes of registrations: the trait that a handler implements to allow them.

use std::time::Duration;

use crate::{
    bindings::updating::exports::namelock::registration::updates as wit,
    duration::millis,
    handler::{Exported, Handler, Rejection},
    lease::{AcquireError, Lost},
    names::{Change, NamesError, Registration, SaveError},
    settings::SettingError,
};

/// What a handler implements beside [`Handler`] to let registrations be changed, by `PATCH` in HTTP.
///
/// It is exported by `namelock_guest::export!(Rooms, updates)`. For a component without it the host answers every
/// change with HTTP 405 `unsupported`.
pub trait Updates: Handler {
    /// Prolongs, hands over or otherwise changes the registration of a name, or rejects the request.
    ///
    /// The result is one of the last 16 registrations that [`find`](crate::find),
    /// [`Lease::update`](crate::Lease::update), [`Lease::save`](crate::Lease::save) and [`apply`](crate::apply)
    /// returned in this call; any other is treated as a trap.
    ///
    /// # Errors
    ///
    /// An [`UpdateRejection`] is the answer to the caller, and its text is shown to them.
    fn update(request: UpdateRequest) -> Result<Registration, UpdateRejection>;
}

/// What a caller asked for, unchanged; only lengths are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRequest {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// Who asks, 1 to 255 bytes. The host does not check that the caller is this owner: the platform in front of it
    /// does.
    pub owner: String,
    /// What is to become of the registration.
    pub change: Change,
}

/// Why a change is refused. The texts are shown to the caller. Errors convert into it as they do into a [`Rejection`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateRejection {
    /// The name or the change is not valid here; the text says why.
    #[error("not valid: {0}")]
    Invalid(String),
    /// The name has no active registration.
    #[error("the name has no active registration")]
    Missing,
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

impl From<Rejection> for UpdateRejection {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(why) => Self::Invalid(why),
            // Of the errors of this crate only that of a save becomes this.
            Rejection::Taken => Self::Forbidden("the name is taken".to_owned()),
            Rejection::Busy { retry_after } => Self::Busy { retry_after },
            Rejection::Forbidden(why) => Self::Forbidden(why),
            Rejection::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

macro_rules! as_into_a_rejection {
    ($($error:ty),+) => {
        $(impl From<$error> for UpdateRejection {
            fn from(error: $error) -> Self {
                Rejection::from(error).into()
            }
        })+
    };
}

as_into_a_rejection!(AcquireError, Lost, NamesError, SaveError, SettingError);

impl From<UpdateRejection> for wit::Rejection {
    fn from(rejection: UpdateRejection) -> Self {
        match rejection {
            UpdateRejection::Invalid(why) => Self::Invalid(why),
            UpdateRejection::Missing => Self::Missing,
            UpdateRejection::Busy { retry_after } => Self::Busy(millis(retry_after)),
            UpdateRejection::Forbidden(why) => Self::Forbidden(why),
            UpdateRejection::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl<H: Updates> Exported<H> {
    /// Compiles only if `H` implements [`Updates`].
    pub const LETS_UPDATE: Self = Self::CHECKED;
}

impl<H: Updates> wit::Guest for Exported<H> {
    fn update(request: wit::Request) -> Result<Registration, wit::Rejection> {
        let request = UpdateRequest {
            name: request.name,
            owner: request.owner,
            change: request.change.into(),
        };
        Ok(H::update(request)?)
    }
}
