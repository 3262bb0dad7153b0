//! What the author of a handler uses, on a machine of his own and without a server: `namelock new`, `build`, `check`, `run`,
//! `test` and `dev`.
//!
//! - [`new`]: a project to start from; [`build`]: its component, by the tools of its language, which `language` knows;
//! - [`check`]: all that a host would refuse a component for, and how near it comes to its limits;
//! - [`run`]: one call in circumstances that can be chosen, and what it took; `replay`: a recorded one again;
//! - [`scenario`]: requests and what is expected of them, from files;
//! - [`dev`]: a host that serves the project while it is being written;
//! - `command`: what the commands have in common; `subject`: the component that one is about; `contents`, [`world`]: what it
//!   imports and exports, and that beside what the contract says, type by type;
//! - `workshop`, `given`, `faults`: a sandbox with locks and names of its own, which can fail.

pub mod build;
pub mod check;
mod command;
mod contents;
pub mod dev;
mod faults;
mod given;
mod language;
pub mod new;
mod replay;
pub mod run;
pub mod scenario;
mod subject;
mod workshop;
pub mod world;
