//! What the locks of one process share.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::LeaseClock;
use crate::config::LockConfig;
use crate::epochs::EpochSource;
use crate::error::OpenError;
use crate::fairness::Fairness;
use crate::figures::Counts;
use crate::held::HeldLeases;
use crate::hold_time::HoldTime;
use crate::local_queue::LocalQueue;
use crate::reaper::{self, ReaperMessage};
use crate::table::Table;
use crate::url::LockUrl;

/// What acquiring needs, and leases need until they end.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<LockConfig>,
    pub(crate) table: Arc<Table>,
    pub(crate) reaper: mpsc::Sender<ReaperMessage>,
    pub(crate) local_queue: Arc<LocalQueue>,
    pub(crate) fairness: Arc<Fairness>,
    pub(crate) clock: Arc<LeaseClock>,
    pub(crate) hold_time: HoldTime,
    pub(crate) counts: Counts,
    pub(crate) held: Arc<HeldLeases>,
}

impl Shared {
    /// Sets up the table at `url`, and starts the reaper.
    pub(crate) fn open(
        url: &LockUrl,
        config: LockConfig,
        clock: Arc<LeaseClock>,
        epochs: &Arc<dyn EpochSource>,
    ) -> Result<Arc<Self>, OpenError> {
        let config = Arc::new(config);
        let table = Arc::new(Table::open(url, &config, &clock, epochs)?);
        let fairness = Arc::new(Fairness::default());
        Ok(Arc::new(Self {
            reaper: reaper::spawn(Arc::clone(&table), Arc::clone(&config)),
            table,
            local_queue: LocalQueue::new(config.waiters, &clock, &fairness),
            hold_time: HoldTime::default(),
            counts: Counts::default(),
            held: Arc::default(),
            fairness,
            clock,
            config,
        }))
    }
}
