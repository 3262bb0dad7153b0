//! The tenant's settings: the table `[settings]` of its `tenant.toml`.

use std::{fmt::Display, str::FromStr};

use crate::{bindings::wasi::config::store as wit, host::store as host};

/// Returns the setting `key`, or none if it is not set.
///
/// # Errors
///
/// [`SettingError::Unreadable`] if the host could not read it. This differs from "not set", so that a handler does not
/// go on with a default that the tenant has overridden.
pub fn setting(key: &str) -> Result<Option<String>, SettingError> {
    host::get(key).map_err(|error| {
        let (wit::Error::Upstream(reason) | wit::Error::Io(reason)) = error;
        SettingError::Unreadable {
            key: key.to_owned(),
            reason,
        }
    })
}

/// Returns the setting `key` as a `T`, or none if it is not set.
///
/// ```
/// # let world = namelock_guest::fake::World::new();
/// # world.set("wait_ms", 500);
/// let wait_ms = namelock_guest::setting_parsed("wait_ms")?.unwrap_or(0);
/// assert_eq!(wait_ms, 500); // with `wait_ms = 500` in the tenant's file
/// # Ok::<_, namelock_guest::SettingError>(())
/// ```
///
/// A value that is not a `T` is also written to the tenant's log, in one line with its key and the reason, whatever the
/// handler does about it. As the value is written too, read a secret with [`setting`] instead.
///
/// # Errors
///
/// [`SettingError`] names the setting if it is not a `T` or could not be read.
pub fn setting_parsed<T>(key: &str) -> Result<Option<T>, SettingError>
where
    T: FromStr<Err: Display>,
{
    let parsed = setting(key)?.map(|value| parse(key, value)).transpose();
    if let Err(error @ SettingError::Malformed { .. }) = &parsed {
        // The reason is of the type's parser; an end of a line in it would end this one.
        eprintln!("{}", error.to_string().replace(['\n', '\r'], " "));
    }
    parsed
}

fn parse<T>(key: &str, value: String) -> Result<T, SettingError>
where
    T: FromStr<Err: Display>,
{
    value.parse().map_err(|error: T::Err| SettingError::Malformed {
        key: key.to_owned(),
        reason: error.to_string(),
        value,
    })
}

/// Why a setting cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The host could not read the setting.
    #[error("cannot read the setting `{key}`: {reason}")]
    Unreadable {
        /// Which setting.
        key: String,
        /// What failed.
        reason: String,
    },
    /// The setting does not have the expected form.
    #[error("cannot use {value:?} as the setting `{key}`: {reason}")]
    Malformed {
        /// Which setting.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with the value.
        reason: String,
    },
}

impl SettingError {
    /// Returns the key of the setting.
    pub fn key(&self) -> &str {
        match self {
            Self::Unreadable { key, .. } | Self::Malformed { key, .. } => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_setting_is_reported_with_its_value() {
        let error = parse::<u32>("wait_ms", "soon".to_owned()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use \"soon\" as the setting `wait_ms`: invalid digit found in string"
        );
    }
}
