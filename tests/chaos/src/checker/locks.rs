//! A lock is given back within a bound after the last call that can have had it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};

use super::causes::{RELEASE, holds_until, is_excused, us};
use super::{Violation, violation};
use crate::clients::{Call, Kind};
use crate::fleet::{Fleet, LOCK_LIFE, SERVERS, TENANT};
use crate::history::History;

/// How long it takes at most to see what is there.
const LOOK: Duration = Duration::from_millis(600);

/// The key of the lock of a name.
pub fn lock_key(name: &str) -> String {
    format!("namelock:{TENANT}:{}", hex(&Md5::digest(name.as_bytes())))
}

/// The key of the lock of an idempotency key.
fn request_lock_key(key: &str) -> String {
    let mut digest = <Sha256 as sha2::Digest>::new();
    for part in [TENANT, key] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let name = hex(&digest.finalize()[..16]);
    format!("namelock:~requests:{}", hex(&Md5::digest(name.as_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Locks that were seen although no call can have had them, for longer than a release takes. One that a killed host has
/// left, or one that stands still, expires; that is a fault's.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut by_name: HashMap<&str, Vec<&Call>> = HashMap::new();
    // Who only looks takes no lock.
    for call in history.calls.iter().filter(|call| call.kind != Kind::Find) {
        by_name.entry(&call.name).or_default().push(call);
    }
    let mut by_key: HashMap<String, Vec<&Call>> = by_name
        .into_iter()
        .map(|(name, calls)| (lock_key(name), calls))
        .collect();
    // Each owner is the key of its registration as well.
    for call in history.calls.iter().filter(|call| call.kind == Kind::Register) {
        by_key.entry(request_lock_key(&call.owner)).or_default().push(call);
    }
    let mut found = Vec::new();
    for sighting in &history.sightings {
        let calls = by_key.get(&sighting.key).map(Vec::as_slice).unwrap_or_default();
        let seen_us = sighting.at_us + us(LOOK);
        let may_hold = |call: &&Call| {
            call.begin_us <= seen_us && holds_until(call).max(call.end_us + us(RELEASE)) >= sighting.at_us
        };
        if !calls.iter().any(may_hold) && !is_excused(history, sighting.at_us - us(RELEASE), seen_us) {
            let last = calls
                .iter()
                .filter(|call| call.begin_us <= seen_us)
                .max_by_key(|call| call.end_us);
            found.push(violation("lock", format!("{sighting:?} after {last:?}")));
        }
    }
    found
}

/// Waits until every lock has been released or must have expired, and tells those that are left.
pub async fn locks_left(fleet: &Fleet) -> Vec<Violation> {
    let mut left = Vec::new();
    for _ in 0..LOCK_LIFE.as_millis() / 100 + 10 {
        left = (0..SERVERS)
            .flat_map(|server| fleet.memcached(server).raw().lock_keys())
            .collect();
        left.retain(|key| key.starts_with("namelock:"));
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    left.into_iter()
        .map(|key| violation("lock", format!("{key} is left")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_the_contract_says() {
        assert_eq!(lock_key("hot-1"), "namelock:chaos:2e5c228aaf7c85d5c926c753d9187bbb");
        assert_eq!(
            request_lock_key("c1-7"),
            "namelock:~requests:8c5619e054a3c64b437d55407a760ebe"
        );
    }
}
