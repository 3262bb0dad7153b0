//! Times, sizes and numbers, as they are written in a configuration file.
//!
//! A time and a size are text with a unit, because `timeout = 10` would be read as seconds by one person and as
//! milliseconds by another. A value is read together with its range, so a value that was read can be used.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

use crate::tokens::TokenSection;
use crate::tokens::right::AdminRight;

/// Units of time and their length in milliseconds, longest first.
pub(super) const TIMES: [(&str, u64); 4] = [("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1)];

/// Units of size and their length in bytes, longest first.
pub(super) const SIZES: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// In bytes.
pub const KIB: u64 = 1 << 10;
/// In bytes.
pub const MIB: u64 = 1 << 20;
/// In bytes.
pub const GIB: u64 = 1 << 30;
/// In milliseconds.
pub const SECOND: u64 = 1_000;
/// In milliseconds.
pub const MINUTE: u64 = 60 * SECOND;
/// In milliseconds.
pub const HOUR: u64 = 60 * MINUTE;
/// In milliseconds.
pub const DAY: u64 = 24 * HOUR;

/// The value of a setting, shown as it is written in a file.
///
/// Values are compared only with values of the same key, so of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A time.
    Time(Duration),
    /// A size in bytes.
    Size(u64),
    /// A number of things.
    Count(u64),
    /// `true` or `false`.
    Switch(bool),
    /// An address, URL or path.
    Text(OsString),
    /// A list of texts.
    List(Vec<String>),
    /// A list of tokens of operators.
    Tokens(Vec<TokenSection<AdminRight>>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                write!(f, "\"{}\"", with_unit(ms, &TIMES, "ms"))
            }
            Self::Size(bytes) => write!(f, "\"{}\"", with_unit(*bytes, &SIZES, "B")),
            Self::Count(count) => write!(f, "{count}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Text(text) => write!(f, "{:?}", text.to_string_lossy()),
            Self::List(texts) => write!(f, "{texts:?}"),
            Self::Tokens(tokens) => {
                let tokens: Vec<_> = tokens.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", tokens.join(", "))
            }
        }
    }
}

/// Writes `value` in the longest unit that is exact; zero has a unit too.
fn with_unit(value: u64, units: &[(&str, u64)], smallest: &str) -> String {
    match value {
        0 => format!("0{smallest}"),
        value => show(value, units),
    }
}

/// Reads a whole number with one of `units` behind it, and answers it in the smallest of them.
fn parse(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let length = units.iter().find(|(name, _)| *name == unit).map(|(_, length)| *length);
    digits
        .parse::<u64>()
        .ok()
        .zip(length)
        .and_then(|(n, length)| n.checked_mul(length))
        .ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("`{shown}` is not {what}")
        })
}

/// Writes `value` in the longest unit that is exact, so that a message names a limit the way a person would.
pub(super) fn show(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units
        .iter()
        .find(|(_, length)| value >= *length && value.is_multiple_of(*length));
    exact.map_or_else(
        || value.to_string(),
        |(name, length)| format!("{}{name}", value / length),
    )
}

/// Refuses a value outside of the range of its setting.
fn within(value: u64, min: u64, max: u64, units: &[(&str, u64)]) -> Result<u64, String> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "{} is out of range: at least {}, at most {}",
        show(value, units),
        show(min, units),
        show(max, units)
    ))
}

const A_TIME: &str = "a time with its unit, as in \"10s\" or \"500ms\"";
const A_SIZE: &str = "a size with its unit, as in \"64KiB\" or \"64MiB\"";

/// Visits a text with a unit; everything else is refused with an example of what is expected.
struct InUnits {
    units: &'static [(&'static str, u64)],
    what: &'static str,
    min: u64,
    max: u64,
}

impl Visitor<'_> for InUnits {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let value = parse(text, self.units, self.what).map_err(E::custom)?;
        within(value, self.min, self.max, self.units).map_err(E::custom)
    }
}

/// Reads a time as it is written in a file, for a flag.
///
/// # Errors
///
/// What the text should be.
pub fn time_of_text(text: &str) -> Result<Duration, String> {
    parse(text, &TIMES, A_TIME).map(Duration::from_millis)
}

/// Visits a whole number.
struct Number {
    min: u64,
    max: u64,
}

impl Visitor<'_> for Number {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number, at least {} and at most {}", self.min, self.max)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        within(value, self.min, self.max, &[]).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        let (min, max) = (self.min, self.max);
        let value = u64::try_from(value)
            .map_err(|_| E::custom(format!("{value} is out of range: at least {min}, at most {max}")));
        self.visit_u64(value?)
    }
}

/// Reads a time between `min` and `max` milliseconds.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D, min: u64, max: u64) -> Result<Value, D::Error> {
    let ms = deserializer.deserialize_str(InUnits {
        units: &TIMES,
        what: A_TIME,
        min,
        max,
    });
    ms.map(|ms| Value::Time(Duration::from_millis(ms)))
}

/// Reads a size between `min` and `max` bytes.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D, min: u64, max: u64) -> Result<Value, D::Error> {
    let bytes = deserializer.deserialize_str(InUnits {
        units: &SIZES,
        what: A_SIZE,
        min,
        max,
    });
    bytes.map(Value::Size)
}

/// Reads a number between `min` and `max`.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D, min: u64, max: u64) -> Result<Value, D::Error> {
    deserializer.deserialize_u64(Number { min, max }).map(Value::Count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(parse(text, &TIMES, A_TIME).ok(), expect, "{text}");
        check("10s", Some(10_000));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("0s", Some(0));
        for wrong in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "+1s",
            "1.5s",
            "10S",
            "10KiB",
            "1s1s",
            "99999999999999999h",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(parse(text, &SIZES, A_SIZE).ok(), expect, "{text}");
        check("64KiB", Some(65_536));
        check("64MiB", Some(67_108_864));
        check("2GiB", Some(1 << 31));
        check("17B", Some(17));
        for wrong in ["", "64", "64kb", "64KB", "64K", "10s", "KiB", "99999999999999999GiB"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_value_is_shown_in_its_longest_exact_unit() {
        assert_eq!(show(60_000, &TIMES), "1m");
        assert_eq!(show(1_500, &TIMES), "1500ms");
        assert_eq!(show(65_536, &SIZES), "64KiB");
        assert_eq!(show(0, &SIZES), "0");
    }

    #[test]
    fn a_value_is_shown_as_it_is_written() {
        let check = |value: Value, expect: &str| assert_eq!(value.to_string(), expect);
        check(Value::Time(Duration::from_millis(1500)), "\"1500ms\"");
        check(Value::Time(Duration::ZERO), "\"0ms\"");
        check(Value::Size(64 << 10), "\"64KiB\"");
        check(Value::Size(0), "\"0B\"");
        check(Value::Count(7), "7");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(value in 1u64..u64::MAX) {
            prop_assert_eq!(parse(&show(value, &TIMES), &TIMES, A_TIME), Ok(value));
            prop_assert_eq!(parse(&show(value, &SIZES), &SIZES, A_SIZE), Ok(value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse(&text, &TIMES, A_TIME);
            let _ = parse(&text, &SIZES, A_SIZE);
        }
    }
}
