//! Names of users: no two that look alike, none in mixed scripts, none that is reserved.
//!
//! # What is locked
//!
//! The name that is locked and saved decides what is unique, and nothing else does. So it is not what the user wrote but
//! its *key*: the skeleton of the name as [UTS 39](https://www.unicode.org/reports/tr39/#Confusable_Detection) defines it,
//! case-folded. `paypal`, `PayPal`, `paypa1` and the same word in Cyrillic letters have one key, so they meet at one lock and in
//! one row of the database, and two callers who register look-alikes at once cannot both succeed. Looking for look-alikes
//! of a name among those that exist would be slow and would let such a race pass.
//!
//! What the user wrote is the attribute `display`, in the form NFKC. It is what a platform shows; the key is not for reading
//! (that of `tom` is `torn`). The answer to a registration has the key as its name: look a registration up by that.
//! Any spelling with the same key frees and changes it, as the key itself does.
//!
//! The key depends on the data of Unicode in the crates `unicode-security` and `unicode-normalization`: if a new version gives
//! another key to an old name, the old registration is not found by it any more. Compare the keys of all names before
//! such a change.
//!
//! # Settings
//!
//! They are in the table `[settings]` of the tenant's `tenant.toml`:
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `wait_ms` | how long to wait for the lock while another call holds it, in milliseconds | 0: try once |
//! | `reserved` | words that nobody may have, nor what looks like one; separated by commas or spaces | `admin administrator help moderator root security support system` |
//! | `min_chars` | how many characters a name has at least | 3 |
//! | `max_chars` | how many characters a name has at most | 30 |
//!
//! A name lasts as long as the caller wishes; without a wish, it does not end.

pub mod name;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, ops::RangeInclusive, str::FromStr, time::Duration};

use namelock_guest::{
    Change, Handler, Registration, Rejection, Request, SettingError, UpdateRejection, UpdateRequest, Updates, find,
    name_lock, setting_parsed,
};

use crate::name::{NameError, UserName, key};

/// The attribute with the name as its user wrote it.
const DISPLAY: &str = "display";

const RESERVED: &str = "admin administrator help moderator root security support system";

const CHARS: RangeInclusive<usize> = 3..=30;

struct Usernames;

namelock_guest::export!(Usernames, updates);

impl Handler for Usernames {
    fn register(request: Request) -> Result<Registration, Rejection> {
        let name = UserName::parse(&request.name, chars()?)?;
        if reserved()?.has(&name) {
            return Err(NameError::Reserved.into());
        }
        let attributes = with_display(request.attributes, name.display());
        name_lock(name.key(), wait()?, |lease| {
            if find(name.key())?.is_some() {
                return Err(Rejection::Taken);
            }
            Ok(lease.save(&request.owner, request.lifetime, &attributes)?)
        })
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        let key = key(&name);
        name_lock(&key, wait()?, |lease| match find(&key)? {
            Some(user) if user.owner != owner => Err(Rejection::Forbidden(
                "the user name belongs to somebody else".to_owned(),
            )),
            Some(_) => {
                lease.free()?;
                Ok(())
            }
            None => Ok(()),
        })
    }
}

impl Updates for Usernames {
    fn update(request: UpdateRequest) -> Result<Registration, UpdateRejection> {
        let key = key(&request.name);
        name_lock(&key, wait()?, |lease| match find(&key)? {
            Some(user) if user.owner != request.owner => Err(UpdateRejection::Forbidden(
                "the user name belongs to somebody else".to_owned(),
            )),
            // It may end between the two.
            Some(user) => lease
                .update(keeping_display(request.change, &user))?
                .ok_or(UpdateRejection::Missing),
            None => Err(UpdateRejection::Missing),
        })
    }
}

impl From<NameError> for Rejection {
    fn from(error: NameError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Words that nobody may have, by their keys.
struct Reserved(Vec<String>);

impl Reserved {
    fn has(&self, name: &UserName) -> bool {
        self.0.iter().any(|reserved| reserved == name.key())
    }
}

impl FromStr for Reserved {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        Ok(Self(words.map(key).collect()))
    }
}

/// Returns the attributes with the display form, in the place of what the caller may have called so.
fn with_display(mut attributes: Vec<(String, String)>, display: &str) -> Vec<(String, String)> {
    attributes.retain(|(key, _)| key != DISPLAY);
    attributes.insert(0, (DISPLAY.to_owned(), display.to_owned()));
    attributes
}

/// Returns the change without one of the display form.
fn keeping_display(mut change: Change, user: &Registration) -> Change {
    let display = user.attributes.iter().find(|(key, _)| key == DISPLAY);
    if let (Some(attributes), Some((_, display))) = (change.attributes.take(), display) {
        change.attributes = Some(with_display(attributes, display));
    }
    change
}

fn reserved() -> Result<Reserved, SettingError> {
    let set = setting_parsed("reserved")?;
    Ok(set.unwrap_or_else(|| {
        let Ok(default) = RESERVED.parse();
        default
    }))
}

fn chars() -> Result<RangeInclusive<usize>, SettingError> {
    let min = setting_parsed("min_chars")?.unwrap_or(*CHARS.start());
    let max = setting_parsed("max_chars")?.unwrap_or(*CHARS.end());
    Ok(min..=max)
}

fn wait() -> Result<Duration, SettingError> {
    Ok(setting_parsed("wait_ms")?.map_or(Duration::ZERO, Duration::from_millis))
}
