//! Reads one section of a file: which of its settings are given, each within its range.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::setting::{Entry, Kind};
use super::units::{self, Value};

/// The settings that a file gives.
#[derive(Debug, Default)]
pub(super) struct Given(Vec<GivenValue>);

/// One setting that a file gives.
#[derive(Debug)]
pub(super) struct GivenValue {
    key: &'static str,
    pub(super) value: Value,
    /// Where a text starts in the file; its form is checked only once no flag has won over it.
    pub(super) start: Option<usize>,
}

impl Given {
    /// The value of the setting with this full key.
    pub(super) fn get(&self, key: &str) -> Option<&GivenValue> {
        self.0.iter().find(|given| given.key == key)
    }
}

/// A section that is to be read into `given`. Keys that are not in `entries` are refused.
pub(super) struct Section<'a> {
    pub(super) entries: Vec<Entry>,
    pub(super) given: &'a mut Given,
    /// A section inside of this one, with its name.
    pub(super) inner: Option<(&'static str, Box<Section<'a>>)>,
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of settings")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut names: Vec<_> = self.entries.iter().map(Entry::name).collect();
        names.extend(self.inner.as_ref().map(|(name, _)| *name));
        while let Some(index) = map.next_key_seed(OneOf(&names))? {
            if let Some(entry) = self.entries.get(index) {
                let (value, start) = map.next_value_seed(entry.kind)?;
                let key = entry.key;
                self.given.0.push(GivenValue { key, value, start });
            } else if let Some((_, section)) = self.inner.take() {
                map.next_value_seed(*section)?;
            }
        }
        Ok(())
    }
}

/// Reads a value of this kind; and where it starts, if it is a text.
impl<'de> DeserializeSeed<'de> for Kind {
    type Value = (Value, Option<usize>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let value = match self {
            Self::Time(min, max) => units::time(deserializer, min, max)?,
            Self::Size(min, max) => units::size(deserializer, min, max)?,
            Self::Count(min, max) => units::count(deserializer, min, max)?,
            Self::Switch => Value::Switch(bool::deserialize(deserializer)?),
            Self::List => Value::List(Vec::deserialize(deserializer)?),
            Self::Tokens => Value::Tokens(Vec::deserialize(deserializer)?),
            Self::Text => {
                let text = Spanned::<String>::deserialize(deserializer)?;
                let start = text.span().start;
                return Ok((Value::Text(text.into_inner().into()), Some(start)));
            }
        };
        Ok((value, None))
    }
}

/// Reads a key that is one of these names, and answers its index.
pub(super) struct OneOf<'a>(pub(super) &'a [&'a str]);

impl<'de> DeserializeSeed<'de> for OneOf<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for OneOf<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<usize, E> {
        let Self(names) = self;
        names.iter().position(|name| *name == key).ok_or_else(|| {
            let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let of = if names.len() > 1 { "one of " } else { "" };
            E::custom(format!("unknown field `{key}`, expected {of}{}", quoted.join(", ")))
        })
    }
}
