//! What the author of a handler uses, on a machine of his own and without a server: `namelock check`.
//!
//! - [`check`]: all that a host would refuse a component for, and how near it comes to its limits;
//! - `subject`: the component that a command is about; [`world`]: what it imports and exports beside what the contract says, type by type.

pub mod check;
mod subject;
pub mod world;
