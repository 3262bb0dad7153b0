//! What several test files need.

use std::time::SystemTime;

use namelock_lock::{EpochSource, NewEpoch, Standing};

/// Gives epochs to servers that were never used before, as each test starts its own. So no host has to wait for what may
/// have been before.
#[derive(Debug)]
pub(crate) struct NewServers;

#[async_trait::async_trait]
impl EpochSource for NewServers {
    async fn begin(&self, _server: &str) -> Result<NewEpoch, String> {
        Ok(NewEpoch {
            epoch: wall_clock(),
            is_first: true,
        })
    }

    async fn check(&self, _server: &str, _epoch: u64) -> Result<Standing, String> {
        Ok(Standing::Known { is_first: true })
    }
}

/// The nanoseconds since 1970.
pub(crate) fn wall_clock() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since_1970.as_nanos()).unwrap()
}
