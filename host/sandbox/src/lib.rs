//! Runs a tenant's registration logic in a sandbox, and gives it exactly two powers: locks on names, and the names
//! themselves.
//!
//! A tenant's component is not trusted. It is compiled once, by a child process ([`Sandbox::compile`]). For every
//! request it gets a fresh instance in a store of its own, runs within limits, and is dropped. This crate binds the WIT
//! of `wit/` to the crates `namelock-lock` and `namelock-names`; it knows nothing of HTTP.
//!
//! In reading order:
//!
//! - [`config`]: the limits, and what the sandbox knows of a tenant; [`error`]: the ways a call can end;
//! - `engine`, `epoch`: how wasmtime is set up, and the thread that interrupts running guests;
//! - [`compiler`], [`cache`]: components are compiled in a process of their own, and the outcome is kept;
//! - `unfit`: what a component is refused for; [`sandbox`]: loads a component; [`powers`]: what its calls are given;
//! - [`request`]: what a call is made for; [`phases`]: where its time goes; [`handler`]: one call from its beginning to its
//!   end, however it ends; `store`, `state`: what the host keeps for it, and gives back; `rejection`, `trap`: what is said of one that was refused or broke down;
//! - `long_run`, `meter`, `limiter`, `log`, `clock`: what keeps a call from disturbing others: turns, running time,
//!   memory, output, coarse clocks; [`feed`]: those who follow the output of a tenant; `swap`: whether instances may be reset quickly; `service`: says once that the lock
//!   service or the names database fails;
//! - [`recording`]: what a call was told, so that it can be run again; `taping`: what it was made for;
//! - `imports`: which interfaces a component may import; `wit`: those of namelock, implemented.
//!
//! # A minimal host
//!
//! `cargo run -p namelock-sandbox --example host -- handler.wasm` runs it with a component of your own.
//!
//! ```standalone_crate
#![doc = include_str!("../examples/host.rs")]
//! ```

pub mod cache;
pub mod compiler;
pub mod config;
pub mod error;
pub mod feed;
pub mod handler;
pub mod phases;
pub mod powers;
pub mod recording;
pub mod request;
pub mod sandbox;

mod clock;
mod database_time;
mod engine;
mod epoch;
mod imports;
mod limiter;
mod log;
mod long_run;
mod meter;
mod rejection;
mod service;
mod state;
mod store;
mod swap;
mod taping;
mod text;
mod trap;
mod unfit;
mod wit;

pub use cache::{CacheError, Digest, InvalidDigest};
pub use config::{CacheConfig, CallLimits, CompilerConfig, SandboxConfig, Settings, Tenant};
pub use database_time::DatabaseTime;
pub use error::{CallError, Cause, LoadError, SandboxError};
pub use feed::Feed;
pub use handler::Handler;
pub use phases::{Phase, Phases};
pub use powers::Powers;
pub use recording::{Recording, Tape};
pub use request::{Context, Repeatable, Request, TraceId, UpdateRequest, Written};
pub use sandbox::{Loaded, Sandbox, Wasm};
pub use unfit::Unfit;
