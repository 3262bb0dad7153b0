//! Several databases, each of which has some of the tenants.
//!
//! A tenant's names are in one of them, all of them. Which one is written down in the first: a tenant gets its place at its first
//! use, where its rows are if the first has any, and otherwise where the fewest tenants are. Nothing is computed from the list, so a
//! database that is added moves nobody. Places name databases by ids that they have of their own, so the list may be written anew with
//! other addresses.
//!
//! # The fence is in the databases
//!
//! A host remembers places, and may be wrong: it stood still while a tenant was moved, it is of an older version, or it was given only
//! the first database. So no host is trusted. A tenant is *gated* in each database in which it must not be written, and a trigger
//! there refuses its writes (migration 6). The gate is made under a lock of the table, so every write has either ended before it, or sees
//! it. A host that is refused has certainly written nothing; it reads the place again and may write there, once. A read has a
//! look at the gate before and after it, on the same connection, and what it has read counts only where the gate was open all the time. So what a host
//! remembers need not be told when it changes: it is corrected when it is used.
//!
//! A host of a version before gates that is given only the first database reads what is not there any longer, but writes nothing.
//!
//! # What stays in the first database
//!
//! Epochs of lock servers, so fencing tokens go on wherever a tenant is; the catalog of tenants; and the places. While it is down
//! new tenants and those whose place is not known yet are not served, all others are.
//!
//! - `members`: which databases there are, and that they belong together;
//! - `places`: where tenants are, as far as this host remembers;
//! - `names`: what a host does with it;
//! - `mover`, `steps`: moves a tenant from one to another; `listed`: says where tenants are.

mod listed;
mod members;
mod mover;
mod names;
mod places;
mod steps;

pub use self::listed::{TenantPlace, placements};
pub use self::mover::Mover;
pub(crate) use self::names::Placed;
pub use self::steps::{MoveError, Step};
