//! The account of a tenant: what it has used, what it may use, and how near to each limit it came.
//!
//! Keeps P6: whatever a tenant causes is booked to its account, whether its guest does it or the host does it because of the
//! tenant: running time, memory, log, writes, database time, compiling, and what is kept of it. The layers above know
//! *what* they do; each charges it here, and nobody keeps a count of its own. The account knows nothing of sandboxes,
//! SQL or HTTP.
//!
//! - [`usage`]: counters that only grow ([`Counter`]), and levels that go up and down ([`Level`]);
//! - [`limit`]: the closed list of what a tenant is limited in, with the key of each in the configuration;
//! - [`peak`]: how near to a limit the tenant came within the last hour;
//! - [`bucket`]: budgets by time: so much in a second, and a burst;
//! - [`recent`]: how much the tenant has run lately;
//! - [`account`]: all of them for one tenant.
//!
//! An account outlives the configuration and the component of its tenant: reading the tenant again gives it new limits,
//! not a new account. Everything here is either an atomic or behind a mutex that is held for a few instructions,
//! because it is used several times in each call. Counts are exact; a snapshot is not taken at one instant.

pub mod account;
pub mod bucket;
pub mod limit;
pub mod peak;
pub mod recent;
pub mod usage;

pub use account::{Account, Budgets};
pub use bucket::Bucket;
pub use limit::Limit;
pub use recent::Recent;
pub use usage::{Counter, Level};
