//! Compares what was answered with what was expected.

use serde_json::Value;

use super::file::{Ask, Expect, Lifetime, Request};

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whether it says that it repeats an earlier one.
    pub(super) replayed: bool,
    /// The registration, or what went wrong; null where there is nothing to say.
    pub(super) body: Value,
}

impl Answer {
    /// The code with which it was refused.
    fn code(&self) -> Option<&str> {
        let refused = self.status >= 400;
        refused.then(|| self.body["code"].as_str().unwrap_or("without a code"))
    }

    /// As a line for people.
    fn describe(&self) -> String {
        let Self { status, body, .. } = self;
        match self.code() {
            Some(code) => format!("{status} {code}: {}", body["detail"].as_str().unwrap_or_default()),
            None if body.is_null() => format!("{status}"),
            None => format!("{status} {body}"),
        }
    }
}

/// A difference, in two columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) expected: String,
    pub(super) got: String,
}

impl Difference {
    /// A setting that no call has read.
    pub(super) fn unread(key: &str) -> Self {
        Self {
            expected: format!("a call reads the setting {key:?}"),
            got: "none does".to_owned(),
        }
    }
}

/// Compares the answer to one request, at this time of the names database.
pub(super) fn one(ask: &Ask, answer: &Answer, now_ms: u64) -> Vec<Difference> {
    let expect = &ask.expect;
    let whole = |expected: &str| {
        vec![Difference {
            expected: expected.to_owned(),
            got: answer.describe(),
        }]
    };
    match (&expect.code, answer.code()) {
        (Some(code), got) if got != Some(code.as_str()) => return whole(code),
        (Some(_), _) => {
            let detail = answer.body["detail"].as_str().unwrap_or_default();
            return match expect.detail.as_deref().filter(|part| !detail.contains(part)) {
                Some(part) => whole(&format!("a text with {part:?}")),
                None => Vec::new(),
            };
        }
        (None, Some(_)) => return whole("success"),
        (None, None) => {}
    }
    registration(expect, answer, now_ms)
}

/// Compares a registration, field by field.
fn registration(expect: &Expect, answer: &Answer, now_ms: u64) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: Value, got: Value| {
        if expected != got {
            differences.push(Difference {
                expected: format!("{what} = {expected}"),
                got: format!("{what} = {got}"),
            });
        }
    };
    let body = &answer.body;
    for (what, expected) in [("name", &expect.name), ("owner", &expect.owner)] {
        if let Some(expected) = expected {
            compare(what, expected.as_str().into(), body[what].clone());
        }
    }
    if let Some(expected) = expect.lifetime {
        let left = body["expires_ms"].as_u64().map(|end| end.saturating_sub(now_ms));
        compare(
            "lifetime_ms",
            lifetime(expected),
            left.map_or("endless".into(), Value::from),
        );
    }
    if let Some(expected) = &expect.attributes {
        compare(
            "attributes",
            expected
                .iter()
                .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
                .collect(),
            body["attributes"].clone(),
        );
    }
    if let Some(expected) = expect.replayed {
        compare("replayed", expected.into(), answer.replayed.into());
    }
    differences
}

fn lifetime(lifetime: Lifetime) -> Value {
    match lifetime {
        Lifetime::Endless => "endless".into(),
        Lifetime::Ms(ms) => ms.into(),
    }
}

/// Compares the answers to callers who sent their requests at once, in their order.
///
/// Where a code is expected, all get it. Else [`Ask::winners`] have what is expected, and the others one of [`Ask::others`].
pub(super) fn all(asks: &[Ask], answers: &[Answer], now_ms: u64) -> Vec<Difference> {
    let each = || asks.iter().zip(answers).enumerate();
    let alike = |ask: &Ask| ask.expect.code.is_some() || matches!(ask.request, Request::Find);
    let Some(first) = asks.first().filter(|ask| !alike(ask)) else {
        let wrong = each().flat_map(|(at, (ask, answer))| numbered(at, one(ask, answer, now_ms)));
        return wrong.collect();
    };
    let mut differences = Vec::new();
    let winners = answers.iter().filter(|answer| answer.code().is_none()).count();
    if winners != first.winners {
        differences.push(Difference {
            expected: match first.winners {
                1 => format!("1 of {} callers succeeds", answers.len()),
                winners => format!("{winners} of {} callers succeed", answers.len()),
            },
            got: format!("{winners} succeed"),
        });
    }
    for (at, (ask, answer)) in each() {
        match answer.code() {
            None => differences.extend(numbered(at, registration(&ask.expect, answer, now_ms))),
            Some(code) if ask.others.iter().any(|allowed| allowed == code) => {}
            Some(_) => differences.extend(numbered(
                at,
                vec![Difference {
                    expected: ["success"]
                        .into_iter()
                        .chain(ask.others.iter().map(String::as_str))
                        .collect::<Vec<_>>()
                        .join(" or "),
                    got: answer.describe(),
                }],
            )),
        }
    }
    differences
}

/// The differences of one of several callers.
fn numbered(at: usize, differences: Vec<Difference>) -> impl Iterator<Item = Difference> {
    differences.into_iter().map(move |difference| Difference {
        got: format!("caller {}: {}", at + 1, difference.got),
        ..difference
    })
}

#[cfg(test)]
mod tests;
