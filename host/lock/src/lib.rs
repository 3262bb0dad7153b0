//! Leases on names: acquire, renew, release.
//!
//! A lock here is a *lease*, the right to a name until a deadline. A table of locks grants it: either memcached, so
//! that it holds across processes and machines, or a map inside this process with the same semantics. This crate knows
//! nothing of sandboxes, HTTP or the names database.
//!
//! In reading order:
//!
//! - `url`: where the locks are; `tls_files`: the files of TLS to them; [`config`]: the limit on everything;
//! - `error`: what can go wrong at the edge of this crate;
//! - [`key`]: how a name becomes a key that interlocks with the Python idiom;
//! - [`locks`]: acquires a lease: the turn on this host, the attempt, the wait;
//! - `acquire_all`: acquires several leases, all or none;
//! - [`lease`]: what a caller holds, and how it ends;
//! - `claim`: an attempt at a lock, which is cleaned up whatever happens to it;
//! - `reaper`: releases in the background what nobody released;
//! - `local_queue`: one caller of a name at a time on this host, in order of arrival;
//! - `fairness`: when a host leaves a name to another host that waits for it;
//! - `clock`: the clock of leases, which goes on while the machine is suspended;
//! - `hold_time`: how long leases are held, to tell callers when to try again;
//! - [`figures`]: what the locks of one process count; [`held`]: the leases that its callers hold;
//! - [`mishaps`]: what goes wrong with a memcached;
//! - `shared`: what the locks of one process share;
//! - `grant`: the words in which a table of locks is asked and answers;
//! - [`epochs`]: who gives the epochs from which fencing tokens are made;
//! - `fencing`: how fencing tokens are made, and why they grow;
//! - `table`: passes each call to the table in use;
//! - `memory`: the table inside this process;
//! - `memcached`: the table in memcached, with the protocol command by command.
//!
//! # What this crate promises
//!
//! The numbers are those of the project's promises; the files named here keep them and cite them.
//!
//! - P3: a lease that nobody released is released in the background, whatever happened to its future (`claim`,
//!   `reaper`).
//! - P4: releasing, renewing and failing to acquire never disturb somebody else's lease (`memcached`, `memory`).
//! - P5: a lease is trusted from the instant *before* its request was made until [`LockConfig::lease`] later, on a
//!   clock that goes on in suspend (`clock`), which is always sooner than memcached's own clock ends it
//!   ([`LockConfig::ttl_seconds`], `memcached::clock`). So two leases on one name are never both trusted, as long as the
//!   table forgets none. memcached may; the names database then decides by the fencing token,
//!   which is this crate's part of P1 (`fencing`).
//! - P6: every queue, wait, retry and table has a limit ([`config`]).
//! - P7: a memcached that was seen to have forgotten its locks, or to have stood still, grants nothing until that can
//!   do no harm, and the leases that it forgot are lost (`memcached::health`). What cannot be granted is refused at
//!   once (`memcached::lane`). A host that differs from its fleet grants nothing (`memcached::fleet`).

//!
//! # A lock for any program
//!
//! `cargo run -p namelock-lock --example idiom -- NAME memcached://HOST:PORT` holds the lock on a name until its input ends. On
//! the empty namespace it interlocks with programs that use the Python idiom, `client.add("namelock::" + md5(name), 1, 10)`.
//!
//! ```no_run,standalone_crate
#![doc = include_str!("../examples/idiom.rs")]
//! ```

pub mod config;
pub mod epochs;
mod error;
pub mod figures;
pub mod held;
pub mod key;
pub mod lease;
pub mod locks;
pub mod mishaps;

mod acquire_all;
mod claim;
mod clock;
mod fairness;
mod fencing;
mod grant;
mod hand_over;
mod hold_time;
mod local_queue;
mod memcached;
mod memory;
mod reaper;
mod shared;
mod table;
mod tls_files;
mod url;

pub use config::LockConfig;
pub use epochs::{EpochSource, NewEpoch, OwnEpochs, Standing};
pub use error::{AcquireError, Lost, OpenError};
pub use key::LockKey;
pub use lease::{Lease, LeaseEnd, LeaseKeeper};
pub use locks::Locks;
#[cfg(fuzzing)]
pub use memcached::fuzz_reply;
pub use namelock_types::FencingToken;
pub use tls_files::TlsFiles;
pub use url::{LockUrl, Login, MemcachedUrl};
