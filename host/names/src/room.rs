//! Which tenants are far from their quota, so that a save of theirs need not look.
//!
//! To add up what a tenant keeps costs the server about a fifth of a save, and hardly any tenant is near its quota. So a
//! host remembers for a second what it last saw. Within that second a tenant that has room for more than 65,536 rows and
//! 256 MiB cannot fill it: one server does not write that much in one second. One that does goes beyond its quota by the
//! excess.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::quota::{Quota, Usage};

/// How long what was seen is trusted.
const TRUSTED: Duration = Duration::from_secs(1);

/// Room for more rows than are written within [`TRUSTED`].
const ROWS: u64 = 65_536;

/// Room for more bytes than are written within [`TRUSTED`].
const BYTES: u64 = 256 << 20;

/// How many tenants are remembered; beyond that, all are looked at anew.
const TENANTS_MAX: usize = 10_000;

/// What tenants were last seen to keep.
#[derive(Default)]
pub(crate) struct Room(Mutex<HashMap<String, (Usage, Instant)>>);

impl Room {
    /// Returns whether the tenant cannot reach its quota before it is looked at again.
    pub(crate) fn is_ample(&self, tenant: &str, quota: Quota, now: Instant) -> bool {
        let seen = self.0.lock().get(tenant).copied();
        seen.is_some_and(|(usage, at)| {
            now.saturating_duration_since(at) < TRUSTED
                && quota.registrations.saturating_sub(usage.registrations) > ROWS
                && quota.bytes.saturating_sub(usage.bytes) > BYTES
        })
    }

    /// Remembers what the tenant kept at the instant `at`, which lies before the look.
    pub(crate) fn saw(&self, tenant: &str, usage: Usage, at: Instant) {
        let mut tenants = self.0.lock();
        if let Some(seen) = tenants.get_mut(tenant) {
            *seen = (usage, at);
            return;
        }
        if tenants.len() >= TENANTS_MAX {
            tenants.clear();
        }
        tenants.insert(tenant.to_owned(), (usage, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_trusted_for_a_second_to_stay_below_a_quota_that_is_far() {
        let (room, now) = (Room::default(), Instant::now());
        let ample = |registrations, bytes, after| {
            let quota = Quota { registrations, bytes };
            room.is_ample("t", quota, now + Duration::from_millis(after))
        };
        assert!(!ample(u64::MAX, u64::MAX, 0), "nobody has looked");
        let usage = Usage {
            registrations: 10,
            bytes: 1000,
        };
        room.saw("t", usage, now);
        assert!(ample(10 + ROWS + 1, 1000 + BYTES + 1, 0));
        assert!(ample(u64::MAX, u64::MAX, 999) && !ample(u64::MAX, u64::MAX, 1000));
        assert!(!ample(10 + ROWS, u64::MAX, 0) && !ample(u64::MAX, 1000 + BYTES, 0) && !ample(0, 0, 0));
        for tenant in 0..TENANTS_MAX {
            room.saw(&tenant.to_string(), usage, now);
        }
        assert!(room.0.lock().len() <= TENANTS_MAX);
    }
}
