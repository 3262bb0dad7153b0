//! Leases on names: acquire, renew, release.
//!
//! A lock here is a *lease*, the right to a name until a deadline. It is granted by a table of locks, which is either
//! memcached, so that it holds across processes and machines, or a map inside this process with the same semantics.
//! This crate knows nothing of sandboxes, HTTP or the names database.
//!
//! In reading order:
//!
//! - [`config`]: where the locks are, and the limit on everything;
//! - [`key`]: how a name becomes a key that interlocks with the Python idiom;
//! - [`lease`]: what a caller holds, and what happens when it lets go;
//! - [`locks`]: acquiring: the turn on this host, the attempt, the wait;
//! - `turnstile`: one caller of a name at a time on this host, in order of arrival;
//! - `reaper`: releases what nobody released;
//! - `table`: what every table of locks can do; `memory` and `memcached` do it.
//!
//! # What is promised
//!
//! - Two leases on one name are never both trusted, as long as the table neither forgets nor stalls for longer than
//!   [`LockConfig::exchange_timeout`]. memcached may do both; the names database decides then, by the fencing token.
//! - Releasing, renewing and failing to acquire never disturb somebody else's lease.
//! - A lease is trusted from the instant *before* its request was made until [`LockConfig::lease`] later, on the monotonic
//!   clock, which is always sooner than memcached forgets it ([`LockConfig::ttl_seconds`]).
//! - Whatever happens to the future of an acquire, a lease that was granted to nobody is released.
//! - A memcached that was seen to have forgotten its locks, or to have stood still, grants nothing until that can do no harm, and
//!   the leases that it has forgotten are lost.

#[cfg(all(
    not(debug_assertions),
    any(
        feature = "without-early-deadline",
        feature = "without-owner-check",
        feature = "without-restart-grace",
        feature = "slow-grant"
    )
))]
compile_error!(
    "the features without-… take a safety out, so that a test can see whether it would be missed: never in a release"
);

pub mod config;
mod error;
pub mod key;
pub mod lease;
pub mod locks;

mod memcached;
mod memory;
mod reaper;
mod table;
mod turnstile;

pub use config::{LockConfig, LockUrl};
pub use error::{AcquireError, Lost, OpenError};
pub use key::LockKey;
pub use lease::{Lease, LeaseEnd};
pub use locks::Locks;
#[cfg(fuzzing)]
pub use memcached::fuzz_reply;
pub use namelock_types::FencingToken;
