//! The database of registrations: who has which name, and for how long.
//!
//! Locks keep handlers from doing work twice; this database keeps a name from having two owners, whatever happened to the
//! lock. It decides in the transaction that writes, by its own clock. This crate knows nothing of locks, sandboxes or HTTP.
//!
//! In reading order:
//!
//! - [`registration`]: what is stored, and what a write must look like;
//! - [`names`]: what every names database does;
//! - [`url`]: where it is;
//! - `sqlite`: in a file of this machine;
//! - `postgres`: in a server that a fleet shares.
//!
//! # What is promised
//!
//! - There is one row for each (tenant, name), the primary key; so there are never two registrations of a name at once.
//! - A registration is active from `created_ms` up to, and not including, `expires_ms`: at that instant the name is free.
//! - A write that carries a smaller fencing token than the row has seen is refused, also when the name is free.
//! - What was saved is on the disk before the answer is given.

#[cfg(all(
    not(debug_assertions),
    any(feature = "without-arbitration", feature = "without-fencing")
))]
compile_error!(
    "the features without-… take a safety out, so that a test can see whether it would be missed: never in a release"
);

pub mod names;
pub mod registration;
pub mod url;

mod error;
mod postgres;
mod sqlite;

pub use error::{NamesError, OpenError, SaveError};
pub use namelock_types::FencingToken;
pub use names::{Names, NamesConfig, open};
pub use registration::{Free, Registration, Save};
pub use url::NamesUrl;
