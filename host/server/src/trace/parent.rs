//! The trace that a caller has begun: the headers `traceparent` and `tracestate` of W3C Trace Context.
//!
//! Headers that do not fit the standard are no error: then the request belongs to no trace of its caller's, as the standard asks for
//! (section 3.2). The propagator of `opentelemetry_sdk` is not used because it refuses flags that came later, such as that of random
//! ids (`03`), and takes ids of any length.

use axum::http::{HeaderMap, HeaderName};
use namelock_sandbox::TraceId;

use crate::hex::from_hex;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is passed on, in bytes: what the standard asks for at least (section 3.3.1.5).
const STATE_MAX: usize = 512;

/// The id of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// What a caller says of the trace that it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span, in which it sent the request.
    pub span_id: SpanId,
    /// Whether the caller traces it, and asks others to.
    pub sampled: bool,
}

impl Parent {
    /// Reads it from the headers of a request; none: its caller has begun no trace.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, another) = (values.next()?, values.next());
        if another.is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    /// Reads `00-<trace id>-<span id>-<flags>`. A later version may have more behind it.
    fn parse(text: &str) -> Option<Self> {
        let (version, rest) = field(text, 2)?;
        let (trace_id, rest) = field(rest.strip_prefix('-')?, 32)?;
        let (span_id, rest) = field(rest.strip_prefix('-')?, 16)?;
        let (flags, rest) = field(rest.strip_prefix('-')?, 2)?;
        let is_later = version[0] > 0 && version[0] < 0xff;
        if !(rest.is_empty() && version[0] == 0 || is_later && (rest.is_empty() || rest.starts_with('-'))) {
            return None;
        }
        let is_valid = |id: &[u8]| id.iter().any(|byte| *byte != 0);
        (is_valid(&trace_id) && is_valid(&span_id)).then_some(())?;
        Some(Self {
            trace_id: TraceId(trace_id.try_into().ok()?),
            span_id: SpanId(span_id.try_into().ok()?),
            sampled: flags[0] & 1 == 1,
        })
    }
}

/// Reads so many lower-case digits, and returns what is behind them.
fn field(text: &str, digits: usize) -> Option<(Vec<u8>, &str)> {
    let (field, rest) = text.split_at_checked(digits)?;
    let is_lower = !field.bytes().any(|byte| byte.is_ascii_uppercase());
    Some((from_hex(field).filter(|_| is_lower)?, rest))
}

/// What other tracers have noted in `tracestate`, to be passed on as it is; empty: nothing, or more than is passed on. It means
/// nothing to this host.
pub fn state_of(headers: &HeaderMap) -> String {
    let mut state = String::new();
    for value in headers.get_all(TRACESTATE) {
        let Ok(members) = value.to_str() else {
            return String::new();
        };
        if state.len() + members.len() >= STATE_MAX {
            return String::new();
        }
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(members);
    }
    state
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_of_the_standard_is_read() {
        let parent = Parent::parse(&format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap();
        assert_eq!(parent.trace_id.to_string(), TRACE);
        assert_eq!(parent.span_id, SpanId([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        assert!(parent.sampled);
        let flags = |text: &str| Parent::parse(&format!("00-{TRACE}-b7ad6b7169203331-{text}"));
        assert!(!flags("00").unwrap().sampled && !flags("02").unwrap().sampled);
        assert!(flags("03").unwrap().sampled && flags("ff").unwrap().sampled);
        assert_eq!(
            Parent::parse(&format!("cc-{TRACE}-b7ad6b7169203331-01-later")),
            flags("01")
        );
        assert_eq!(Parent::parse(&format!("cc-{TRACE}-b7ad6b7169203331-01")), flags("01"));
    }

    #[test]
    fn what_is_no_trace_of_the_standard_is_none() {
        let zeros = "0".repeat(32);
        for wrong in [
            "",
            "00",
            &format!("00-{TRACE}-b7ad6b7169203331"),
            &format!("00-{TRACE}-b7ad6b7169203331-1"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-later"),
            &format!("cc-{TRACE}-b7ad6b7169203331-01later"),
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{zeros}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}-b7ad6b716920333-011"),
            &format!(" 00-{TRACE}-b7ad6b7169203331-01"),
            &format!("00_{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-b7ad6b716920333\u{e9}-1"),
        ] {
            assert_eq!(Parent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap();
        headers.append(TRACEPARENT, value.clone());
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::of(&headers), None);
    }

    #[test]
    fn a_state_is_passed_on_if_it_is_not_too_long() {
        let mut headers = HeaderMap::new();
        assert_eq!(state_of(&headers), "");
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(state_of(&headers), "a=1,b=2");
        let longest = "x".repeat(STATE_MAX);
        headers.append(TRACESTATE, HeaderValue::from_str(&longest).unwrap());
        assert_eq!(state_of(&headers), "");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_is_none(text in ".{0,60}") {
            let _ = Parent::parse(&text);
        }
    }
}
