//! What the crates of the host share without knowing each other: a few rules and conversions that must not be stated
//! twice.
//!
//! It stands below all of them, so only what needs no lock, no database and no server belongs here.
//!
//! - [`text`]: the length of names and owners;
//! - [`fencing`]: the order of fencing tokens;
//! - [`histogram`]: how long something took, counted in buckets;
//! - [`milliseconds()`]: times as the WIT and logs have them;
//! - [`causes`]: an error as text, with all its causes;
//! - [`removable`]: safeties that a test can take out of a host.

pub mod causes;
pub mod fencing;
pub mod histogram;
mod milliseconds;
pub mod removable;
pub mod text;

pub use causes::error_chain;
pub use fencing::FencingToken;
pub use milliseconds::milliseconds;
pub use removable::{Safety, is_removed};
pub use text::{LengthError, TEXT_BYTES_MAX, check_name, check_owner};
