//! Whether the services that the host needs answer.

use std::time::Duration;

use namelock_lock::Locks;
use namelock_names::Names;

use crate::text::chain;

/// How long a service may take to report that it is ready; most probes give up after about a second.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Asks lock and names database; of each, why it does not answer.
pub async fn backends(locks: &Locks, names: &dyn Names) -> [(&'static str, Result<(), String>); 2] {
    let locks = tokio::time::timeout(TIMEOUT, locks.ready());
    let names = tokio::time::timeout(TIMEOUT, names.ready());
    let (locks, names) = tokio::join!(locks, names);
    let late = || Err(format!("no answer within {TIMEOUT:?}"));
    [
        ("lock", locks.unwrap_or_else(|_| late())),
        (
            "names",
            names.map_or_else(|_| late(), |ready| ready.map_err(|error| chain(&error))),
        ),
    ]
}
