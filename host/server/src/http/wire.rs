//! The shapes of what the three calls read and write.
//!
//! Everything here is a pure function of text, so that it can be tested with any text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use namelock_names::Registration;
use namelock_sandbox::Request;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, Problem};

/// What is escaped in a segment of a path: all but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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

/// An object of texts, in the order in which it was written.
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
        f.write_str("an object whose values are texts")
    }

    /// Refuses a key that comes twice: JSON leaves open which one counts, and two readers may choose differently.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut seen = HashSet::new();
        let mut attributes = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("attribute `{key}` is there twice")));
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
        .map_err(|error| invalid(format!("the body is not the JSON that this call reads: {error}")))?;
    check_name(&body.name)?;
    check_owner(&body.owner)?;
    Ok(Request {
        name: body.name,
        owner: body.owner,
        lifetime: body.lifetime_ms.map(Duration::from_millis),
        attributes: body.attributes.map(|attributes| attributes.0).unwrap_or_default(),
    })
}

/// Checks how long a name is; everything else about names is the handler's to say.
pub fn check_name(name: &str) -> Result<(), Problem> {
    namelock_types::check_name(name).map_err(|error| Problem::new(ErrorKind::NameInvalid, error.to_string()))
}

fn check_owner(owner: &str) -> Result<(), Problem> {
    namelock_types::check_owner(owner).map_err(|error| invalid(error.to_string()))
}

/// Decodes one segment of a path.
///
/// A `%` that is not followed by two hexadecimal digits is refused, not taken as it is: otherwise `100%` and `100%25`
/// would be one name to us and two to whoever else reads the address.
pub fn decode(text: &str) -> Result<String, Problem> {
    let mut after_percent = text.split('%').skip(1);
    let escaped = |rest: &str| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !after_percent.all(escaped) {
        return Err(invalid(
            "the address has a % that is not followed by two hexadecimal digits",
        ));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| invalid("the address is not UTF-8 once it is decoded"))
}

/// Reads `owner=…`, which must be the whole query.
///
/// A `+` is a space, as the writers of HTML forms and most HTTP clients have it; a plus is `%2B`.
pub fn owner_of(query: Option<&str>) -> Result<String, Problem> {
    let once = "this call needs ?owner=… exactly once, and nothing else";
    let mut pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let (Some(pair), None) = (pairs.next(), pairs.next()) else {
        return Err(invalid(once));
    };
    let value = pair.strip_prefix("owner=").ok_or_else(|| invalid(once))?;
    let owner = decode(&value.replace('+', " "))?;
    check_owner(&owner)?;
    Ok(owner)
}

/// The address of a registration.
pub fn location(tenant: &str, name: &str) -> String {
    format!("/v1/{tenant}/names/{}", utf8_percent_encode(name, SEGMENT))
}

/// A registration as it is answered.
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

/// Writes attributes as an object; a handler may have saved a key twice, and then its first value counts.
fn as_object<S: Serializer>(attributes: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    let mut seen = HashSet::new();
    for (key, value) in attributes.iter().filter(|(key, _)| seen.insert(key)) {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// Writes a registration.
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
        .map_err(|error| Problem::new(ErrorKind::Internal, "the answer cannot be written").because(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use namelock_names::FencingToken;

    use super::*;

    #[test]
    fn a_body_is_read_whole_or_refused() {
        let request = parse_register(
            r#"{"name":"room 1","owner":"ann","lifetime_ms":60000,"attributes":{"z":"1","a":"2"}}"#.as_bytes(),
        );
        let request = request.unwrap();
        assert_eq!((request.name.as_str(), request.owner.as_str()), ("room 1", "ann"));
        assert_eq!(request.lifetime, Some(Duration::from_secs(60)));
        let expect = [("z", "1"), ("a", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(request.attributes, expect, "in the order of the body");

        let request = parse_register(br#"{"name":"n","owner":"o","lifetime_ms":null,"attributes":null}"#).unwrap();
        assert_eq!((request.lifetime, request.attributes.len()), (None, 0));
    }

    #[test]
    fn a_wrong_body_says_what_is_wrong() {
        let check = |body: &str, kind: ErrorKind, expect: &str| {
            let problem = parse_register(body.as_bytes()).err().unwrap();
            assert_eq!(problem.kind(), kind, "{body}");
            assert!(problem.detail().contains(expect), "{body}: {}", problem.detail());
        };
        let long = "x".repeat(256);
        check("", ErrorKind::InvalidRequest, "EOF");
        check("[]", ErrorKind::InvalidRequest, "expected struct");
        check(r#"{"name":"n"}"#, ErrorKind::InvalidRequest, "missing field `owner`");
        check(
            r#"{"name":"n","owner":"o","x":1}"#,
            ErrorKind::InvalidRequest,
            "unknown field `x`",
        );
        check(
            r#"{"name":"n","name":"m","owner":"o"}"#,
            ErrorKind::InvalidRequest,
            "duplicate field `name`",
        );
        check(
            r#"{"name":"n","owner":"o"} x"#,
            ErrorKind::InvalidRequest,
            "trailing characters",
        );
        check(
            r#"{"name":"n","owner":"o","lifetime_ms":-1}"#,
            ErrorKind::InvalidRequest,
            "-1",
        );
        check(
            r#"{"name":"n","owner":"o","lifetime_ms":1.5}"#,
            ErrorKind::InvalidRequest,
            "1.5",
        );
        check(
            r#"{"name":"n","owner":"o","attributes":{"a":1}}"#,
            ErrorKind::InvalidRequest,
            "expected a string",
        );
        check(
            r#"{"name":"n","owner":"o","attributes":[]}"#,
            ErrorKind::InvalidRequest,
            "an object whose values are texts",
        );
        check(
            r#"{"name":"n","owner":"o","attributes":{"a":"1","a":"2"}}"#,
            ErrorKind::InvalidRequest,
            "`a` is there twice",
        );
        check(
            r#"{"name":"n","owner":""}"#,
            ErrorKind::InvalidRequest,
            "an owner is 1 to 255 bytes",
        );
        check(
            &format!(r#"{{"name":"n","owner":"{long}"}}"#),
            ErrorKind::InvalidRequest,
            "this one is 256",
        );
        check(
            r#"{"name":"","owner":"o"}"#,
            ErrorKind::NameInvalid,
            "a name is 1 to 255 bytes",
        );
        check(
            &format!(r#"{{"name":"{long}","owner":"o"}}"#),
            ErrorKind::NameInvalid,
            "this one is 256",
        );
        check(
            r#"{"name":"\ud800","owner":"o"}"#,
            ErrorKind::InvalidRequest,
            "hex escape",
        );
        assert_eq!(
            parse_register(b"{\"name\":\"\xff\",\"owner\":\"o\"}")
                .err()
                .unwrap()
                .kind(),
            ErrorKind::InvalidRequest
        );
    }

    #[test]
    fn an_address_is_decoded_strictly() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(decode(text).ok().as_deref(), expect, "{text}");
        check("a%20b", Some("a b"));
        check("a+b", Some("a+b"));
        check("a%2Fb", Some("a/b"));
        check("%c3%A9", Some("é"));
        check("100%25", Some("100%"));
        check("100%", None);
        check("%2", None);
        check("%zz", None);
        check("%%20", None);
        check("%ff", None);
    }

    #[test]
    fn an_owner_is_named_exactly_once() {
        let check = |query: Option<&str>, expect: Option<&str>| {
            assert_eq!(owner_of(query).ok().as_deref(), expect, "{query:?}");
        };
        check(Some("owner=ann"), Some("ann"));
        check(Some("owner=a+b%2Bc%26d"), Some("a b+c&d"));
        check(Some("owner=a=b"), Some("a=b"));
        check(Some("&owner=ann&"), Some("ann"));
        for wrong in [
            "",
            "owner",
            "owner=",
            "owner=a&owner=a",
            "owner=a&x=1",
            "x=1",
            "Owner=a",
            "owner=%zz",
        ] {
            check(Some(wrong), None);
        }
        check(None, None);
    }

    #[test]
    fn a_registration_is_written_with_its_attributes_in_order() {
        let saved = Registration {
            name: "n".into(),
            owner: "o".into(),
            created_ms: 1,
            expires_ms: None,
            fencing_token: FencingToken::new(7),
            attributes: [("z", "1"), ("a", "2"), ("z", "3")]
                .map(|(key, value)| (key.into(), value.into()))
                .into(),
        };
        let text = String::from_utf8(registration(&saved).unwrap()).unwrap();
        let head = r#"{"name":"n","owner":"o","created_ms":1,"expires_ms":null,"fencing_token":7,"#;
        assert_eq!(text, format!(r#"{head}"attributes":{{"z":"1","a":"2"}}}}"#));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_register(&body);
        }

        #[test]
        fn any_json_is_read_or_refused(body in r#"[\[\]{}:,"a-z0-9\\. ]{0,80}"#) {
            let _ = parse_register(body.as_bytes());
            let _ = parse_register(format!(r#"{{"name":"n","owner":"o","attributes":{body}}}"#).as_bytes());
        }

        #[test]
        fn an_accepted_body_keeps_its_texts(name in ".{1,60}", owner in ".{1,60}", key in any::<String>()) {
            let body = serde_json::json!({ "name": name, "owner": owner, "attributes": { &key: "v" } });
            let request = parse_register(body.to_string().as_bytes()).unwrap();
            prop_assert_eq!(request.name, name);
            prop_assert_eq!(request.owner, owner);
            prop_assert_eq!(request.attributes, [(key, "v".to_owned())]);
        }

        #[test]
        fn a_location_leads_back_to_its_name(name in any::<String>()) {
            let location = location("acme", &name);
            let segment = location.strip_prefix("/v1/acme/names/").unwrap();
            prop_assert!(!segment.contains('/'));
            prop_assert_eq!(decode(segment).unwrap(), name);
        }

        #[test]
        fn any_query_is_read_or_refused(query in any::<String>()) {
            let _ = owner_of(Some(&query));
        }
    }
}
