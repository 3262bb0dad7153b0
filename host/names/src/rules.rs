//! What a write must satisfy, and how its values are stored.
//!
//! Both databases check these rules before they queue or send anything, and say with one voice why a row was not changed.

use std::time::Duration;

use namelock_types::{FencingToken, check_name, check_owner};

use crate::config::NamesConfig;
use crate::error::SaveError;
use crate::registration::{Lifetime, Registration, Save, Update};
use crate::seen::Seen;

/// The longest lifetime, in years.
const LIFETIME_YEARS_MAX: u64 = 100;

/// The shortest lifetime: the databases count whole milliseconds.
const LIFETIME_MIN: Duration = Duration::from_millis(1);

/// The longest lifetime. A registration that is to last longer has no end at all.
pub const LIFETIME_MAX: Duration = Duration::from_secs(LIFETIME_YEARS_MAX * 366 * 24 * 60 * 60);

/// Checks everything about a save that does not depend on what the database holds.
pub(crate) fn check_save(save: &Save, config: &NamesConfig) -> Result<(), SaveError> {
    check_name(&save.name)?;
    check_owner(&save.owner)?;
    check_lifetime(save.lifetime)?;
    check_hold(save.hold, config.hold_max)?;
    check_attributes(&save.attributes, config.attributes_max, config.attribute_bytes_max)
}

/// Returns why a save cannot change the row that the name has, if that is so: its registration is active, a newer lease has
/// written it, or it is held for another owner.
pub(crate) fn refusal(
    save: &Save,
    row: Registration,
    is_active: bool,
    hold_ms: Option<i64>,
    now_ms: i64,
) -> Option<SaveError> {
    if is_active {
        return Some(SaveError::Taken(Box::new(row)));
    }
    if row.fencing_token > save.fencing_token {
        return Some(SaveError::LeaseLost);
    }
    if row.owner == save.owner {
        return None;
    }
    let retry_after = row.held_for(hold_ms, now_ms)?;
    let last = Box::new(row);
    Some(SaveError::Held { last, retry_after })
}

/// Checks everything about an update that does not depend on what the database holds.
pub(crate) fn check_update(update: &Update, config: &NamesConfig) -> Result<(), SaveError> {
    let change = &update.change;
    check_name(&update.name)?;
    change.owner.as_deref().map_or(Ok(()), check_owner)?;
    if let Some(Lifetime::FromNow(lifetime)) = change.lifetime {
        check_lifetime(Some(lifetime))?;
    }
    match &change.attributes {
        Some(attributes) => check_attributes(attributes, config.attributes_max, config.attribute_bytes_max),
        None => Ok(()),
    }
}

fn check_hold(hold: Duration, max: Duration) -> Result<(), SaveError> {
    if hold > max {
        return Err(invalid(format!(
            "a name is held for at most {} ms (names.hold_max), and not for {} ms",
            max.as_millis(),
            hold.as_millis()
        )));
    }
    Ok(())
}

fn check_lifetime(lifetime: Option<Duration>) -> Result<(), SaveError> {
    match lifetime {
        Some(lifetime) if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) => Err(invalid(format!(
            "a lifetime is at least {} ms and at most {LIFETIME_YEARS_MAX} years",
            LIFETIME_MIN.as_millis()
        ))),
        _ => Ok(()),
    }
}

/// Checks that there are at most `count_max` attributes, and that all keys and values together have at most `bytes_max`
/// bytes.
///
/// # Errors
///
/// [`SaveError::Invalid`] states the limit that is exceeded.
pub fn check_attributes(attributes: &[(String, String)], count_max: usize, bytes_max: usize) -> Result<(), SaveError> {
    if attributes.len() > count_max {
        return Err(invalid(format!("there are at most {count_max} attributes")));
    }
    let bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > bytes_max {
        return Err(invalid(format!(
            "all attributes together are at most {bytes_max} bytes long"
        )));
    }
    Ok(())
}

/// Returns a fencing token as databases store it: their integers are signed. A token that does not fit is centuries
/// away.
pub(crate) fn stored_token(token: FencingToken) -> Result<i64, SaveError> {
    i64::try_from(token.get()).map_err(|_| invalid(format!("the fencing token {token} is too large to be stored")))
}

/// Returns the token that a row must have to be as it was seen, unless it has that of the write itself; none: any. No lease has
/// a negative one.
pub(crate) fn stored_seen(seen: Seen) -> Result<Option<i64>, SaveError> {
    match seen {
        Seen::Unread => Ok(None),
        Seen::Free => Ok(Some(-1)),
        Seen::Registered(token) => stored_token(token).map(Some),
    }
}

/// Returns attributes as databases store them: a JSON array of [key, value] pairs, which keeps their order.
pub(crate) fn stored_attributes(attributes: &[(String, String)]) -> Result<String, SaveError> {
    serde_json::to_string(attributes).map_err(|error| invalid(format!("the attributes cannot be stored: {error}")))
}

/// Returns a duration in whole milliseconds, as databases count; one that is too long becomes the longest.
pub(crate) fn stored_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns a hold as databases store it; none: the name is free at once.
pub(crate) fn stored_hold(hold: Duration) -> Option<i64> {
    Some(stored_ms(hold)).filter(|hold_ms| *hold_ms > 0)
}

/// Returns a count as databases store it; one that is too large becomes the largest.
pub(crate) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn invalid(reason: String) -> SaveError {
    SaveError::Invalid { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_is_too_long_becomes_the_longest() {
        assert_eq!(stored_ms(Duration::from_micros(7_900)), 7);
        assert_eq!(stored_ms(Duration::MAX), i64::MAX);
    }

    #[test]
    fn a_lifetime_is_at_least_a_millisecond_and_at_most_a_hundred_years() {
        let refusal = |lifetime| check_lifetime(Some(lifetime)).map_err(|error| error.to_string());
        let expected = "a lifetime is at least 1 ms and at most 100 years";
        assert_eq!(refusal(LIFETIME_MIN), Ok(()));
        assert_eq!(refusal(LIFETIME_MAX), Ok(()));
        assert_eq!(refusal(Duration::from_nanos(999_999)), Err(expected.to_owned()));
        assert_eq!(
            refusal(LIFETIME_MAX + Duration::from_nanos(1)),
            Err(expected.to_owned())
        );
        assert_eq!(check_lifetime(None), Ok(()));
    }
}
