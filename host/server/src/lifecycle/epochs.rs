//! Wires the lock's epochs to the names database, which all hosts of a fleet share.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use namelock_lock::epochs::{EpochSource, NewEpoch, Standing};
use namelock_names::{EpochStanding, Names};

use crate::text::chain;

/// The names database as the source of epochs.
pub(super) struct DatabaseEpochs(pub(super) Arc<dyn Names>);

impl fmt::Debug for DatabaseEpochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseEpochs")
    }
}

#[async_trait]
impl EpochSource for DatabaseEpochs {
    async fn begin(&self, server: &str) -> Result<NewEpoch, String> {
        let new = self.0.begin_epoch(server).await.map_err(|error| chain(&error))?;
        Ok(NewEpoch {
            epoch: new.epoch,
            is_first: new.is_first,
        })
    }

    async fn check(&self, server: &str, epoch: u64) -> Result<Standing, String> {
        let standing = self.0.check_epoch(server, epoch).await;
        Ok(match standing.map_err(|error| chain(&error))? {
            EpochStanding::Known { is_first } => Standing::Known { is_first },
            EpochStanding::Stale => Standing::Stale,
            EpochStanding::Future { ahead } => Standing::Future { ahead },
        })
    }
}
