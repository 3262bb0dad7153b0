//! The interfaces of `wit/` that a handler imports, implemented on narrow views of a call.
//!
//! - `bindings`: the WIT as Rust types and traits;
//! - `convert`: between its types and those of the crates below;
//! - `written`: what a call has written;
//! - `writes`: what `names` has in common for all writes;
//! - `locks`, `names`, `settings`: one interface each. A view borrows just what its interface needs, and
//!   `add_to_linker` is told how to get it from the data of a store, whatever that is;
//! - `taped`, `taped_locks`, `taped_names`: those of them that ask services, with the tape of the call in front; `told`: what
//!   is on it.

pub(crate) mod bindings;
pub(crate) mod convert;
pub(crate) mod locks;
pub(crate) mod names;
pub(crate) mod settings;
pub(crate) mod taped;
pub(crate) mod taped_locks;
pub(crate) mod taped_names;
mod told;
pub(crate) mod writes;
pub(crate) mod written;
