//! A PostgreSQL with a synchronous standby.

use crate::postgres::Postgres;
use crate::process::{DEADLINE, wait_until};

/// A primary and its synchronous standby: a commit of the primary is answered once the standby has it on its disk.
///
/// Both are servers like any other, so that a test can stop, kill and restart each of them:
///
/// - `pair.standby.signal("STOP")`: commits of the primary wait, without an end; `CONT` ends it.
/// - `pair.standby.kill()`: the same; `pair.standby.restart()` ends it.
/// - `pair.primary.kill()`, then `pair.promote()`: a failover. What the primary had answered, the new one has.
#[derive(Debug)]
pub struct PostgresPair {
    /// The server that writes.
    pub primary: Postgres,
    /// The server that replays it.
    pub standby: Postgres,
}

impl PostgresPair {
    /// Starts both, with these settings, each as `name=value`, and waits until commits of the primary wait for the standby.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not start.
    pub fn start(settings: &[&str]) -> Self {
        Self::of(Postgres::with_settings(settings))
    }

    /// Gives a server a synchronous standby, with the same settings and the same environment, as [`PostgresPair::start`] does.
    ///
    /// # Panics
    ///
    /// When the standby does not start.
    pub fn of(primary: Postgres) -> Self {
        let standby = primary.start_standby();
        let pair = Self { primary, standby };
        pair.demand_standby();
        pair
    }

    /// The URL for `--names` that names both, the one that writes first.
    pub fn url(&self) -> String {
        let (primary, standby) = (self.primary.address(), self.standby.address());
        format!("postgres://nobody@{primary},{standby}/postgres?sslmode=disable")
    }

    fn demand_standby(&self) {
        // Only once the standby is there: until then no commit would be answered.
        self.primary.configure("synchronous_standby_names = '*'");
        self.wait_until_synchronous();
    }

    /// Kills the primary, and lets the standby take its place; the one that was killed is the standby from then on, and
    /// does not run.
    ///
    /// # Panics
    ///
    /// When the standby does not run.
    pub fn fail_over(&mut self) {
        self.primary.kill();
        self.promote();
        std::mem::swap(&mut self.primary, &mut self.standby);
    }

    /// Makes a standby anew from the primary, in the place of the one before.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn replace_standby(&mut self) {
        self.standby.kill();
        self.standby = self.primary.start_standby();
        self.demand_standby();
    }

    /// Waits until commits of the primary wait for the standby, and it answers them.
    ///
    /// # Panics
    ///
    /// When the standby does not follow the primary.
    pub fn wait_until_synchronous(&self) {
        let standbys = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
        let follows = || self.primary.ask(standbys).is_some_and(|count| count == "1");
        assert!(wait_until(DEADLINE, follows), "the standby does not follow the primary");
    }

    /// Lets the standby take writes. Its commits wait for nobody. It does not stop the primary, if that still runs: two
    /// servers that take writes are what a failover has to prevent.
    ///
    /// # Panics
    ///
    /// When the standby does not run.
    pub fn promote(&mut self) {
        self.standby.promote();
    }
}
