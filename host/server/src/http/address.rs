//! The addresses of names: their paths, what is read from them, and the one that a new registration gets.

use std::borrow::Cow;

use axum::http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::wire::{check_name, check_owner};
use crate::error::{ErrorKind, Problem};

/// The path of all names of a tenant.
pub(super) const NAMES: &str = "/v1/{tenant}/names";

/// The path of one name.
pub(super) const NAME: &str = "/v1/{tenant}/names/{name}";

/// The path of the log of a tenant.
pub(super) const LOG: &str = "/v1/{tenant}/log";

/// The characters that are escaped in a path segment: all but the unreserved ones of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The tenant's segment of a path, not decoded yet.
pub(super) fn tenant_segment(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix("/v1/")?.split('/').next()
}

/// Reads the name in the address of one name.
pub(super) fn name_of(uri: &Uri) -> Result<String, Problem> {
    let segment = uri.path().rsplit('/').next().unwrap_or_default();
    let name = decode(segment)?;
    check_name(&name)?;
    Ok(name)
}

/// Reads `owner=…`, which must be the whole query.
///
/// A `+` is a space, as HTML forms and most HTTP clients write it; a plus is `%2B`.
pub(super) fn owner_of(query: Option<&str>) -> Result<String, Problem> {
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

/// What a request to list asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListOf {
    pub(super) prefix: String,
    pub(super) owner: Option<String>,
    /// As it was given: what it means depends on the rest.
    pub(super) after: Option<String>,
    pub(super) limit: u32,
}

/// The most registrations of one page.
const LIMIT_MAX: u32 = 1000;

/// How many there are if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// Reads `prefix=…&owner=…&after=…&limit=…`, of which each may be left out.
pub(super) fn list_of(query: Option<&str>) -> Result<ListOf, Problem> {
    let (mut prefix, mut owner, mut after, mut limit) = (None, None, None, None);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match key {
            "prefix" => &mut prefix,
            "owner" => &mut owner,
            "after" => &mut after,
            "limit" => &mut limit,
            _ => {
                return Err(invalid(
                    "this call takes prefix=, owner=, after= and limit=, and nothing else",
                ));
            }
        };
        if place.replace(decode(&value.replace('+', " "))?).is_some() {
            return Err(invalid("this call takes prefix=, owner=, after= and limit= once each"));
        }
    }
    let prefix = prefix.unwrap_or_default();
    if !prefix.is_empty() {
        check_name(&prefix)?;
    }
    owner.as_deref().map(check_owner).transpose()?;
    let limit = match limit {
        None => LIMIT_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| invalid(&format!("limit= is a number from 1 to {LIMIT_MAX}")))?,
    };
    Ok(ListOf {
        prefix,
        owner,
        after,
        limit,
    })
}

/// Refuses any query.
pub(super) fn no_query(query: Option<&str>) -> Result<(), Problem> {
    match query {
        None | Some("") => Ok(()),
        Some(_) => Err(invalid("this call takes no query")),
    }
}

/// Decodes one segment of a path.
///
/// A `%` that is not followed by two hexadecimal digits is refused, not kept as it is: otherwise `100%` and `100%25`
/// would be one name to this host and two to others that read the address.
pub(super) fn decode(text: &str) -> Result<String, Problem> {
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
        .map_err(|_| invalid("the address is not UTF-8 after decoding"))
}

/// The address of a registration.
pub(crate) fn location(tenant: &str, name: &str) -> String {
    format!("/v1/{tenant}/names/{}", utf8_percent_encode(name, SEGMENT))
}

fn invalid(detail: &str) -> Problem {
    Problem::new(ErrorKind::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn the_name_in_an_address_is_checked() {
        let name = |segment: &str| {
            name_of(&format!("/v1/acme/names/{segment}").parse().unwrap()).map_err(|error| error.kind())
        };
        assert_eq!(name("a%2Fb%20c"), Ok("a/b c".into()));
        assert_eq!(name("%zz"), Err(ErrorKind::InvalidRequest));
        assert_eq!(name("%c3"), Err(ErrorKind::InvalidRequest));
        assert_eq!(name(&"x".repeat(255)), Ok("x".repeat(255)));
        assert_eq!(name(&"x".repeat(256)), Err(ErrorKind::NameInvalid));
        assert_eq!(
            name(&"%C3%A9".repeat(128)),
            Err(ErrorKind::NameInvalid),
            "bytes count, not characters"
        );
    }

    #[test]
    fn a_query_has_exactly_one_owner() {
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
    fn a_list_is_asked_for_by_parts_that_are_given_once() {
        let all = |query: &str| list_of(Some(query)).ok();
        let expect = ListOf {
            prefix: "a b".to_owned(),
            owner: Some("ann".to_owned()),
            after: Some("x".to_owned()),
            limit: 7,
        };
        assert_eq!(all("prefix=a+b&owner=ann&after=x&limit=7"), Some(expect));
        let none = list_of(None).unwrap();
        assert_eq!(
            (none.prefix.as_str(), none.owner, none.after, none.limit),
            ("", None, None, 100)
        );
        assert_eq!(all("limit=1000").unwrap().limit, 1000);
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=",
            "prefix=a&prefix=a",
            "prefix=%c3",
            "owner=",
            "Prefix=a",
            "x=1",
            "prefix",
        ] {
            assert_eq!(all(wrong).is_none(), wrong != "prefix", "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_location_leads_back_to_its_name(name in any::<String>()) {
            let location = location("acme", &name);
            let segment = location.strip_prefix("/v1/acme/names/").unwrap();
            prop_assert!(!segment.contains('/'));
            prop_assert_eq!(decode(segment).unwrap(), name);
        }

        #[test]
        fn any_query_is_read_or_refused(query in any::<String>()) {
            let _ = (owner_of(Some(&query)), list_of(Some(&query)));
        }
    }
}
