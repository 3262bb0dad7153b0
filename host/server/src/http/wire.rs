//! The JSON bodies that the calls read and write.
//!
//! Everything here is a pure function of text, so it can be tested with any text.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use namelock_names::{Change, Lifetime, Registration};
use namelock_sandbox::{Request, UpdateRequest};
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

/// The body of a request to change a registration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    owner: String,
    #[serde(default)]
    new_owner: Option<String>,
    /// The outer one: not given; the inner one: `null`.
    #[serde(default, deserialize_with = "given")]
    lifetime_ms: Option<Option<u64>>,
    #[serde(default)]
    attributes: Option<Attributes>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
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

fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    // serde would take an array for an object, its members in the order of the fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(invalid("the body is a JSON object, and nothing else"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let error = error.to_string().replace("expected u64", "expected a whole number");
        invalid(format!("the body is not valid JSON for this call: {error}"))
    })
}

/// Reads the body of a request to register.
pub fn parse_register(body: &[u8]) -> Result<Request, Problem> {
    let body: RegisterBody = parse(body)?;
    check_name(&body.name)?;
    check_owner(&body.owner)?;
    Ok(Request {
        name: body.name,
        owner: body.owner,
        lifetime: body.lifetime_ms.map(Duration::from_millis),
        attributes: body.attributes.map(|attributes| attributes.0).unwrap_or_default(),
    })
}

/// Reads the body of a request to change the registration of this name.
pub fn parse_update(name: String, body: &[u8]) -> Result<UpdateRequest, Problem> {
    let body: UpdateBody = parse(body)?;
    check_owner(&body.owner)?;
    body.new_owner.as_deref().map(check_owner).transpose()?;
    let change = Change {
        owner: body.new_owner,
        lifetime: body
            .lifetime_ms
            .map(|ms| ms.map_or(Lifetime::Endless, |ms| Lifetime::FromNow(Duration::from_millis(ms)))),
        attributes: body.attributes.map(|attributes| attributes.0),
    };
    if change == Change::default() {
        return Err(invalid(
            "the body changes nothing; give new_owner, lifetime_ms or attributes",
        ));
    }
    Ok(UpdateRequest {
        name,
        owner: body.owner,
        change,
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

impl<'a> From<&'a Registration> for RegistrationBody<'a> {
    fn from(registration: &'a Registration) -> Self {
        Self {
            name: &registration.name,
            owner: &registration.owner,
            created_ms: registration.created_ms,
            expires_ms: registration.expires_ms,
            fencing_token: registration.fencing_token.get(),
            attributes: &registration.attributes,
        }
    }
}

/// One page of a list as it is written in an answer.
#[derive(Serialize)]
struct PageBody<'a> {
    names: Vec<RegistrationBody<'a>>,
    next: Option<String>,
}

/// Writes a registration as JSON.
pub fn registration(registration: &Registration) -> Result<Vec<u8>, Problem> {
    written(&RegistrationBody::from(registration))
}

/// Writes a page of a list as JSON; `next` is the cursor of the page behind it.
pub fn page(registrations: &[Registration], next: Option<String>) -> Result<Vec<u8>, Problem> {
    let names = registrations.iter().map(RegistrationBody::from).collect();
    written(&PageBody { names, next })
}

fn written(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body)
        .map_err(|error| Problem::new(ErrorKind::Internal, "the host could not write the answer").because(&error))
}

#[cfg(test)]
mod tests;
