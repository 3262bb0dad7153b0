//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a request that is sent again is the same
//! request, and is answered like the first.
//!
//! A key is remembered in the row that its request has written, by the statement that writes it (`names::request`). So it is
//! known to every host, it is there exactly if the write is, and it lasts as long as the row.
//!
//! While the first request runs, there is nothing to find yet. Who begins therefore takes a lock on its key, which is one like
//! those on names; who does not get it hears `name_busy`. That lock spares handlers a second run. It is not what the promise
//! hangs on: if it is lost, the database still lets only one of the two write. It outlasts the call while one of its writes is
//! undecided: who sends the request again then hears `name_busy`, and not what a handler makes of a half-known state.

use std::time::Duration;

use axum::http::HeaderMap;
use namelock_lock::{AcquireError, Lease, Locks};
use namelock_names::{Keep, Lifetime, RequestKey};
use namelock_sandbox::{CallError, DatabaseTime, Phase, Phases, Repeatable, Request, Tenant, UpdateRequest, Written};
use namelock_types::{Safety, is_removed};

use super::app::App;
use crate::error::{ErrorKind, Problem};
use crate::hex::hex;
use crate::tenants::Ready;

/// The header.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header of an answer that is a repetition.
pub(crate) const REPLAYED: &str = "idempotency-replayed";

/// Longest key, in characters.
const KEY_MAX: usize = 255;

/// The namespace of the locks on keys. No tenant has it: that of a tenant is its id, which has no such character, or
/// empty.
pub(crate) const NAMESPACE: &str = "~requests";

/// Reads the key of a request; none where it has none.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else {
        return Ok(None);
    };
    let key = match (value.to_str(), more) {
        (Ok(text), None) => unquoted(text.trim()),
        _ => None,
    };
    key.filter(|key| (1..=KEY_MAX).contains(&key.len()))
        .map(Some)
        .ok_or_else(|| {
            let detail =
                "the header Idempotency-Key is given once, with 1 to 255 printable ASCII characters, in quotes or not";
            Problem::new(ErrorKind::InvalidRequest, detail)
        })
}

/// Takes the quotes off a string of RFC 9651, which the draft demands; a key without quotes, which most clients send, is one
/// without quotes in it.
fn unquoted(text: &str) -> Option<String> {
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return None;
    }
    let Some(rest) = text.strip_prefix('"') else {
        return (!text.contains('"')).then(|| text.to_owned());
    };
    let inner = rest.strip_suffix('"')?;
    let (mut key, mut characters) = (String::new(), inner.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => key.push(characters.next().filter(|next| matches!(next, '"' | '\\'))?),
            other => key.push(other),
        }
    }
    Some(key)
}

/// What of a request must be the same when it is sent again, part by part.
#[derive(Debug, PartialEq)]
pub(super) struct Fingerprint(Vec<Vec<u8>>);

impl Fingerprint {
    pub(super) fn of_register(request: &Request) -> Self {
        let Request {
            name,
            owner,
            lifetime,
            attributes,
        } = request;
        let lifetime = lifetime.map(|time| time.as_millis().to_string());
        Self::of("register", name, owner)
            .with(lifetime.as_deref())
            .with_attributes(Some(attributes))
    }

    pub(super) fn of_update(request: &UpdateRequest) -> Self {
        let UpdateRequest { name, owner, change } = request;
        let lifetime = change.lifetime.map(|lifetime| match lifetime {
            Lifetime::Endless => String::new(),
            Lifetime::FromNow(time) => time.as_millis().to_string(),
        });
        Self::of("update", name, owner)
            .with(change.owner.as_deref())
            .with(lifetime.as_deref())
            .with_attributes(change.attributes.as_ref())
    }

    fn of(operation: &str, name: &str, owner: &str) -> Self {
        Self(Vec::new())
            .with(Some(operation))
            .with(Some(name))
            .with(Some(owner))
    }

    /// A part that is not there differs from an empty one.
    fn with(mut self, part: Option<&str>) -> Self {
        self.0
            .push(part.map_or_else(Vec::new, |part| [b"=", part.as_bytes()].concat()));
        self
    }

    /// In any order: an object of JSON has none.
    fn with_attributes(self, attributes: Option<&Vec<(String, String)>>) -> Self {
        let mut all: Vec<_> = attributes.into_iter().flatten().collect();
        all.sort();
        let count = attributes.map(|attributes| attributes.len().to_string());
        let print = self.with(count.as_deref());
        all.into_iter()
            .fold(print, |print, (key, value)| print.with(Some(key)).with(Some(value)))
    }

    /// A request that was sent with this key.
    pub(super) fn keyed(self, key: String) -> Keyed {
        Keyed { key, fingerprint: self }
    }
}

/// The key of a request, and what the request must be.
pub(super) struct Keyed {
    key: String,
    fingerprint: Fingerprint,
}

/// A request with a key that has begun, and keeps others with this key from running.
struct Begun {
    /// The key as it is remembered.
    key: RequestKey,
    lease: Lease,
}

impl Begun {
    /// The request, whose lock lasts while one of its writes is undecided.
    fn repeatable(&self) -> Repeatable {
        let mut keep = Keep::default();
        keep.add(self.lease.keep());
        Repeatable { key: self.key, keep }
    }

    async fn end(self) {
        // Whether it was still held is of no use to anybody now.
        let _ = self.lease.release().await;
    }
}

/// Runs a request, or answers it as it was answered before if it was sent with a key and has succeeded.
pub(super) async fn once<F: Future<Output = Result<Written, CallError>>>(
    app: &App,
    ready: &Ready,
    phases: &Phases,
    keyed: Option<Keyed>,
    run: impl FnOnce(Option<Repeatable>) -> F,
) -> Result<Written, Problem> {
    let Some(keyed) = keyed.filter(|_| !is_removed(Safety::Idempotency)) else {
        return Ok(run(None).await?);
    };
    let begun = {
        let _phase = phases.within(Phase::Acquire);
        begin(&app.powers.locks, &ready.tenant, keyed).await?
    };
    let time = DatabaseTime::begin(&ready.tenant.account, phases, Phase::Find);
    let past = app.powers.names.find_request(&ready.tenant.id, begun.key).await;
    drop(time);
    let written = match Written::before(past?) {
        Ok(None) => run(Some(begun.repeatable())).await,
        Ok(Some(written)) => Ok(written),
        Err(reused) => Err(reused),
    };
    phases.enter(Phase::Release);
    begun.end().await;
    phases.enter(Phase::Answer);
    Ok(written?)
}

/// Takes the lock on a key, which whoever sent the request before may still have.
async fn begin(locks: &Locks, tenant: &Tenant, keyed: Keyed) -> Result<Begun, Problem> {
    let parts: Vec<_> = keyed.fingerprint.0.iter().map(Vec::as_slice).collect();
    let key = RequestKey::new(&tenant.id, &keyed.key, &parts);
    let lease = acquire(locks, &hex(&key.key)).await?;
    Ok(Begun { key, lease })
}

async fn acquire(locks: &Locks, name: &str) -> Result<Lease, Problem> {
    locks
        .acquire(NAMESPACE, name, Duration::ZERO)
        .await
        .map_err(|error| match error {
            AcquireError::Busy { retry_after } => {
                let detail = "the request that was sent with this Idempotency-Key before still runs, or it is not known yet whether it was done";
                Problem::new(ErrorKind::NameBusy, detail).after(retry_after)
            }
            AcquireError::NoEpoch { .. } => {
                Problem::new(ErrorKind::NamesUnavailable, "the lock service cannot grant now").because(&error)
            }
            AcquireError::Unavailable { retry_after, .. } => {
                let problem = Problem::new(ErrorKind::LockUnavailable, "the lock service cannot grant now");
                match retry_after {
                    Some(wait) => problem.after(wait),
                    None => problem,
                }
                .because(&error)
            }
            AcquireError::InvalidName(_) | AcquireError::Doubled { .. } => {
                Problem::new(ErrorKind::Internal, "the host failed; its log says why").because(&error)
            }
        })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use namelock_names::Change;

    use super::*;

    fn key(values: &[&[u8]]) -> Result<Option<String>, ErrorKind> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        key_of(&headers).map_err(|problem| problem.kind())
    }

    #[test]
    fn a_key_is_printable_ascii_in_quotes_or_not() {
        assert_eq!(key(&[]), Ok(None));
        let longest = "k".repeat(255);
        for (given, expect) in [
            ("8e03978e-40d5", "8e03978e-40d5"),
            ("\"8e03978e\"", "8e03978e"),
            ("\"a\\\"b\\\\\"", "a\"b\\"),
            ("a b~", "a b~"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            assert_eq!(key(&[given.as_bytes()]), Ok(Some(expect.to_owned())), "{given}");
        }
        let too_long = "k".repeat(256);
        for wrong in [
            "", "\"\"", "\"a", "a\"", "\"a\"b\"", "\"a\\n\"", "\"a\\\"", "a\tb", &too_long,
        ] {
            assert_eq!(key(&[wrong.as_bytes()]), Err(ErrorKind::InvalidRequest), "{wrong}");
        }
        assert_eq!(key(&[b"\xc3\xa9"]), Err(ErrorKind::InvalidRequest));
        assert_eq!(key(&[b"a", b"a"]), Err(ErrorKind::InvalidRequest));
    }

    #[test]
    fn every_part_of_a_request_is_in_its_fingerprint() {
        let request = Request {
            name: "n".to_owned(),
            owner: "o".to_owned(),
            lifetime: None,
            attributes: vec![("a".to_owned(), "b".to_owned())],
        };
        let with = |change: &dyn Fn(&mut Request)| {
            let mut request = request.clone();
            change(&mut request);
            Fingerprint::of_register(&request)
        };
        let update = |change| {
            let (name, owner) = ("n".to_owned(), "o".to_owned());
            Fingerprint::of_update(&UpdateRequest { name, owner, change })
        };
        let same = with(&|_| ());
        assert_eq!(same, with(&|_| ()));
        let two = [("a", "b"), ("c", "d")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let [forth, back] = [two.to_vec(), two.iter().rev().cloned().collect()]
            .map(|all: Vec<_>| with(&|request| request.attributes.clone_from(&all)));
        assert_eq!(forth, back, "attributes have no order");
        let all = [
            with(&|request| request.name = "no".to_owned()),
            with(&|request| request.owner = "p".to_owned()),
            with(&|request| request.lifetime = Some(Duration::ZERO)),
            with(&|request| request.attributes.clear()),
            with(&|request| request.attributes[0] = ("ab".to_owned(), String::new())),
            with(&|request| request.attributes.push(("a".to_owned(), "b".to_owned()))),
            update(Change::default()),
            update(Change {
                lifetime: Some(Lifetime::Endless),
                ..Change::default()
            }),
            update(Change {
                owner: Some(String::new()),
                ..Change::default()
            }),
            update(Change {
                attributes: Some(Vec::new()),
                ..Change::default()
            }),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_ne!(*one, same, "{at}");
            assert!(!all[..at].contains(one), "{at}");
        }
    }
}
