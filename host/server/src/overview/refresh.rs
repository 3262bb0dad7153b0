//! Asks the names database, tenant after tenant, how much each keeps.
//!
//! The rows of a tenant are the fleet's, and a host sees only its own writes. Without this the metric of a tenant's rows would
//! be as old as the last question for that tenant.

use std::sync::Arc;
use std::time::Duration;

use namelock_account::{Account, Level};
use namelock_names::Names;

use crate::tenants::Tenants;

/// How many tenants are asked for in a second, so that ten thousand tenants are no load: each of them is asked for in forty minutes.
const IN_A_SECOND: usize = 4;

/// The shortest time between two questions for the same tenant, where there are few.
const ROUND: Duration = Duration::from_secs(15);

/// The longest that one answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Refreshes what is known of the rows of every tenant, for ever.
pub(super) async fn keep_fresh(tenants: &Tenants, names: &dyn Names) {
    loop {
        let round = tokio::time::sleep(ROUND);
        let accounts: Vec<_> = tenants.glances().into_iter().map(|glance| glance.account).collect();
        for some in accounts.chunks(IN_A_SECOND) {
            let second = tokio::time::sleep(Duration::from_secs(1));
            for account in some {
                refresh(account, names).await;
            }
            second.await;
        }
        round.await;
    }
}

/// Asks for one tenant; where there is no answer, what was known before stays.
async fn refresh(account: &Arc<Account>, names: &dyn Names) {
    if let Ok(Ok(usage)) = tokio::time::timeout(TIMEOUT, names.usage(account.tenant())).await {
        account.set(Level::Registrations, usage.registrations);
        account.set(Level::RegistrationBytes, usage.bytes);
    }
}
