//! Calls of a component without a host around them: what the sandbox alone costs.
//!
//! Locks are in this process and names are kept by nobody, so that nothing is measured but how a component is called: in a fresh
//! instance for each call, as the host does it, or in one that is called again and again, as other hosts do it. `namelock-bench`
//! starts the program of this crate for each component and each way, because it shall not have to be built with wasmtime.
//!
//! In reading order:
//!
//! - [`stage`]: what a call is given, and what it is asked; [`forgetful`]: the names that nobody keeps;
//! - [`fresh`]: calls in the sandbox of the host; [`reused`]: calls in an instance that is reused, with plain wasmtime;
//! - [`callers`]: callers of either kind, who work for some time;
//! - [`hold`]: calls that are held in their middle, and the memory that they have then; [`mapped`]: which of it is the guest's;
//! - [`told`]: what the program says, beside times.

pub mod callers;
pub mod forgetful;
pub mod fresh;
pub mod hold;
pub mod mapped;
pub mod reused;
pub mod stage;
pub mod told;
