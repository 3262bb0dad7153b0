//! The JSON bodies that the calls read and write.
//!
//! Everything here is a pure function of text, so it can be tested with any text.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use namelock_names::Registration;
use namelock_sandbox::Request;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, Problem};

/// The body of a request to register.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    name: String,
    owner: String,
    #[serde(default)]
    lifetime_ms: Option<u64>,
    #[serde(default)]
    attributes: Option<Attributes>,
}

/// An object of strings, in the order in which it was written.
#[derive(Debug)]
struct Attributes(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose values are strings")
    }

    /// Refuses a key that is given twice: JSON does not say which one counts, and two readers might choose differently.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut seen = HashSet::new();
        let mut attributes = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("attribute `{key}` is given twice")));
            }
            attributes.push((key, value));
        }
        Ok(Attributes(attributes))
    }
}

fn invalid(detail: impl AsRef<str>) -> Problem {
    Problem::new(ErrorKind::InvalidRequest, detail)
}

/// Reads the body of a request to register.
pub fn parse_register(body: &[u8]) -> Result<Request, Problem> {
    let body: RegisterBody = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body is not valid JSON for this call: {error}")))?;
    check_name(&body.name)?;
    check_owner(&body.owner)?;
    Ok(Request {
        name: body.name,
        owner: body.owner,
        lifetime: body.lifetime_ms.map(Duration::from_millis),
        attributes: body.attributes.map(|attributes| attributes.0).unwrap_or_default(),
    })
}

/// Checks the length of a name; all other rules for names are the handler's.
pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    namelock_types::check_name(name).map_err(|error| Problem::new(ErrorKind::NameInvalid, error.to_string()))
}

/// Checks the length of an owner.
pub(super) fn check_owner(owner: &str) -> Result<(), Problem> {
    namelock_types::check_owner(owner).map_err(|error| invalid(error.to_string()))
}

/// A registration as it is written in an answer.
#[derive(Serialize)]
struct RegistrationBody<'a> {
    name: &'a str,
    owner: &'a str,
    created_ms: u64,
    expires_ms: Option<u64>,
    fencing_token: u64,
    #[serde(serialize_with = "as_object")]
    attributes: &'a [(String, String)],
}

/// Writes attributes as an object; if a handler has saved a key twice, its first value counts.
fn as_object<S: Serializer>(attributes: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    let mut seen = HashSet::new();
    for (key, value) in attributes.iter().filter(|(key, _)| seen.insert(key)) {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// Writes a registration as JSON.
pub fn registration(registration: &Registration) -> Result<Vec<u8>, Problem> {
    let body = RegistrationBody {
        name: &registration.name,
        owner: &registration.owner,
        created_ms: registration.created_ms,
        expires_ms: registration.expires_ms,
        fencing_token: registration.fencing_token.get(),
        attributes: &registration.attributes,
    };
    serde_json::to_vec(&body)
        .map_err(|error| Problem::new(ErrorKind::Internal, "the host could not write the answer").because(&error))
}

#[cfg(test)]
mod tests;
