//! What the author of a handler uses, on a machine of his own and without a server: `namelock check`, `run` and `test`.
//!
//! - [`check`]: all that a host would refuse a component for, and how near it comes to its limits;
//! - [`run`]: one call in circumstances that can be chosen, and what it took;
//! - `command`: what both have in common; `subject`: the component that a command is about; [`world`]: what it imports and exports beside what the contract says, type by type;
//! - [`scenario`]: requests and what is expected of them, from files;
//! - `workshop`, `given`, `faults`: a sandbox with locks and names of its own, which can fail.

pub mod check;
mod command;
mod faults;
mod given;
pub mod run;
pub mod scenario;
mod subject;
mod workshop;
pub mod world;
