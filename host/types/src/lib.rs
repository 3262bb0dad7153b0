//! The two rules that the lock and the names database share without knowing each other: what a name is, and which of two leases is
//! the newer one.
//!
//! - [`text`]: the length of names and owners;
//! - [`fencing`]: the order of fencing tokens.

pub mod fencing;
pub mod text;

pub use fencing::FencingToken;
pub use text::{LengthError, check_name, check_owner};
