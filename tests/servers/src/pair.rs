//! A PostgreSQL with a standby.

use crate::postgres::Postgres;
use crate::process::{DEADLINE, signal, wait_until};

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
    waits: Waits,
}

/// Whether a commit of the primary is answered once its standby has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    ForStandby,
    /// It is answered at once, and a failover may lose it.
    ForNobody,
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
        Self::with(primary, Waits::ForStandby)
    }

    /// The same with an asynchronous standby: no commit waits for it, so a failover may lose what was answered.
    ///
    /// # Panics
    ///
    /// When the standby does not start.
    pub fn asynchronous(primary: Postgres) -> Self {
        Self::with(primary, Waits::ForNobody)
    }

    fn with(primary: Postgres, waits: Waits) -> Self {
        let standby = primary.start_standby();
        let pair = Self {
            primary,
            standby,
            waits,
        };
        pair.demand_standby();
        pair
    }

    /// The URL for `--names` that names both, the one that writes first.
    pub fn url(&self) -> String {
        let (primary, standby) = (self.primary.address(), self.standby.address());
        format!("postgres://nobody@{primary},{standby}/postgres?sslmode=disable")
    }

    fn demand_standby(&self) {
        if self.waits == Waits::ForStandby {
            // Only once the standby is there: until then no commit would be answered.
            self.primary.configure("synchronous_standby_names = '*'");
        }
        self.wait_until_synchronous();
    }

    /// Has the primary send nothing more to its standby, as a network that has come apart between them. Only the death of the
    /// primary ends it.
    ///
    /// # Panics
    ///
    /// When the primary has no standby.
    pub fn leave_standby_behind(&self) {
        let sender = self.primary.ask("SELECT pid FROM pg_stat_replication");
        let sender = sender.and_then(|sender| sender.parse().ok());
        signal(sender.expect("the primary sends to its standby"), "STOP");
    }

    /// Has the primary stand still, and lets the standby take its place; the one that stands still is the standby from then on. It
    /// must not go on.
    ///
    /// # Panics
    ///
    /// When the standby does not run.
    pub fn fail_over_from_stopped(&mut self) {
        self.primary.signal("STOP");
        self.promote();
        std::mem::swap(&mut self.primary, &mut self.standby);
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

    /// Makes a standby anew from the primary, in the place of the one before. What the primary has answered in between, nobody
    /// else has until this returns.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn replace_standby(&mut self) {
        self.standby.kill();
        self.standby = self.primary.start_standby();
        self.demand_standby();
    }

    /// Waits until the standby follows the primary, and commits wait for it where they shall.
    ///
    /// # Panics
    ///
    /// When the standby does not follow the primary.
    pub fn wait_until_synchronous(&self) {
        let state = match self.waits {
            Waits::ForStandby => "sync",
            Waits::ForNobody => "async",
        };
        let standbys =
            format!("SELECT count(*) FROM pg_stat_replication WHERE sync_state = '{state}' AND state = 'streaming'");
        let follows = || self.primary.ask(&standbys).is_some_and(|count| count == "1");
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
