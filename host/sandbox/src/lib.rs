//! Runs a tenant's registration logic, and gives it exactly two powers: locks on names, and the names themselves.
//!
//! A tenant's component is not trusted. It is compiled once, by a child process ([`Sandbox::compile`]); for every request it gets a fresh instance in a
//! store of its own, runs within limits, and is thrown away. This crate binds the WIT of `wit/` to the crates `namelock-lock` and
//! `namelock-names`; it knows nothing of HTTP.
//!
//! In reading order:
//!
//! - [`config`]: the limits, and what one tenant is;
//! - [`sandbox`]: the one engine, its instance pool and its clock;
//! - [`compiler`], [`cache`]: components are compiled in a process of their own, and what came of it is kept;
//! - `grants`: what a component may import, and nothing more;
//! - [`handler`]: one call from its beginning to its end, whichever way it ends;
//! - `state`: what the host keeps for one call; `locks` and `names` are what the guest can do with it;
//! - `vigil`: ends a call whose lease is lost;
//! - `limiter`, `meter`, `log`, `clock`: memory, running time, the guest's own output, and what it is told of the time;
//! - `long_run`: who may run for long, so that nobody else feels it;
//! - [`error`]: the ways a call can end.

pub mod cache;
pub mod compiler;
pub mod config;
pub mod error;
pub mod handler;
pub mod sandbox;

mod bindings;
mod clock;
mod grants;
mod limiter;
mod locks;
mod log;
mod long_run;
mod meter;
mod names;
mod state;
mod vigil;

pub use cache::{CacheError, Digest};
pub use config::{CacheConfig, CallLimits, CompilerConfig, SandboxConfig, Tenant};
pub use error::{CallError, Cause, LoadError, SandboxError};
pub use handler::{Handler, Powers, Request};
pub use sandbox::{Sandbox, Wasm};
