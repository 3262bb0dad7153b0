//! The database of registrations: who has which name, and for how long.
//!
//! Locks keep two handlers from doing the same work at once; this database keeps a name from having two owners,
//! whatever happened to the lock. It decides in the transaction that writes, by a clock of its own that never steps. This
//! crate knows nothing of locks, sandboxes or HTTP.
//!
//! In reading order:
//!
//! - `registration`: what is stored, and what a write consists of;
//! - `seen`: what a caller had read when it decided on a write; `keep`: what lasts until that is decided;
//! - `request`: requests that may be repeated;
//! - `past_request`: what such a request has done;
//! - `transaction`: several writes as one;
//! - `quota`: how much of it a tenant may keep;
//! - `list`: lists of names, page by page;
//! - `error`: what can go wrong at the edge of this crate;
//! - `figures`: what a database tells an operator of itself;
//! - `config`: the limits and timeouts, with their defaults;
//! - `rules`: what a write must satisfy, and how its values are stored;
//! - `clock`: database time, by which registrations begin and end;
//! - `manual_time`: time that stands still, for tests of what depends on it;
//! - `epoch`: the numbers from which fencing tokens are counted;
//! - `fair`: how tenants take turns where they have to wait;
//! - `room`: which tenants are far from their quota;
//! - `sweep`: where the next purge begins;
//! - `names`: the trait [`Names`], what every names database does;
//! - `url`: where a names database is;
//! - `sqlite`: the one in a file on this machine;
//! - `postgres`: the one in a server that a fleet shares;
//! - [`placed`]: several such servers, each with some of the tenants;
//! - `open`: picks one of the two by its URL;
//! - [`records`]: whole rows of a tenant, for backups and moves;
//! - [`catalog`]: the tenants of a fleet, in tables and with connections of its own.
//!
//! # What is promised
//!
//! - There is one row for each (tenant, name), its primary key, so a name never has two active registrations (P1).
//! - A registration is active from `created_ms` up to, but not including, `expires_ms`: at that instant the name is
//!   free. What has ended or was freed stays so, and nothing ends early, whatever is done to a wall clock.
//! - A write with a smaller fencing token than the row has seen is refused, even when the name is free.
//! - A write that was decided on what another lease has overwritten since is refused.
//! - What was saved is on disk before the answer is given (P2).
//! - A tenant that is at its quota, or that floods the database with writes, is in nobody else's way (P6).

pub mod catalog;
mod clock;
mod config;
mod epoch;
mod error;
mod fair;
mod figures;
mod keep;
mod list;
mod manual_time;
mod names;
mod open;
mod past_request;
pub mod placed;
mod postgres;
mod quota;
pub mod records;
mod registration;
mod request;
mod room;
mod rules;
mod seen;
mod sqlite;
mod sweep;
mod transaction;
mod url;

pub use config::NamesConfig;
pub use epoch::{EpochStanding, NewEpoch};
pub use error::{ApplyError, NamesError, OpenError, SaveError};
pub use figures::Figures;
pub use keep::Keep;
pub use list::{ListQuery, Page};
pub use manual_time::ManualTime;
pub use namelock_types::FencingToken;
pub use names::Names;
pub use open::{open, open_with_time};
pub use past_request::PastRequest;
pub use quota::{Quota, QuotaKind, Usage};
pub use registration::{Change, Free, Lifetime, Registration, Save, Update};
pub use request::RequestKey;
pub use rules::{LIFETIME_MAX, check_attributes};
pub use seen::Seen;
pub use transaction::WriteOne;
pub use url::NamesUrl;
