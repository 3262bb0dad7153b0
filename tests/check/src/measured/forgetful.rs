//! A names database that has no names, and keeps none: so a call costs what the sandbox costs.

use std::time::Duration;

use async_trait::async_trait;
use namelock_names::{
    ApplyError, EpochStanding, Free, ListQuery, Names, NamesError, NewEpoch, Page, PastRequest, Registration,
    RequestKey, Save, SaveError, Update, Usage, WriteOne,
};

/// A fixed time, in milliseconds since 1970.
const NOW_MS: u64 = 1_763_900_000_000;

/// See the module.
pub(super) struct Forgetful;

/// The answer to what no call of a measurement asks for.
fn unable<E: From<NamesError>>() -> E {
    NamesError::unavailable("these names are made for register alone").into()
}

#[async_trait]
impl Names for Forgetful {
    async fn find(&self, _: &str, _: &str) -> Result<Option<Registration>, NamesError> {
        Ok(None)
    }

    async fn save(&self, save: Save) -> Result<Registration, SaveError> {
        let lifetime_ms = save
            .lifetime
            .and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok());
        Ok(Registration {
            name: save.name,
            owner: save.owner,
            created_ms: NOW_MS,
            expires_ms: lifetime_ms.map(|lifetime_ms| NOW_MS + lifetime_ms),
            fencing_token: save.fencing_token,
            attributes: save.attributes,
        })
    }

    async fn update(&self, _: Update) -> Result<Option<Registration>, SaveError> {
        Err(unable())
    }

    async fn find_request(&self, _: &str, _: RequestKey) -> Result<PastRequest, NamesError> {
        Err(unable())
    }

    async fn free(&self, _: Free) -> Result<bool, SaveError> {
        Err(unable())
    }

    async fn apply(&self, _: &str, _: Vec<WriteOne>) -> Result<Vec<Option<Registration>>, ApplyError> {
        Err(unable())
    }

    async fn list(&self, _: ListQuery) -> Result<Page, NamesError> {
        Err(unable())
    }

    async fn usage(&self, _: &str) -> Result<Usage, NamesError> {
        Err(unable())
    }

    async fn begin_epoch(&self, _: &str) -> Result<NewEpoch, NamesError> {
        Err(unable())
    }

    async fn check_epoch(&self, _: &str, _: u64) -> Result<EpochStanding, NamesError> {
        Err(unable())
    }

    fn clock_off_ms(&self) -> i64 {
        0
    }

    async fn ready(&self) -> Result<(), NamesError> {
        Ok(())
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn close(&self) {}
}
