//! The host's outermost floor: HTTP in front of the sandbox, and the life of the process around it.
//!
//! In reading order:
//!
//! - [`cli`]: what can be typed, and what the process answers with its exit code;
//! - [`config`], [`source`], [`units`]: flags, environment and file become one checked [`config::Config`];
//! - [`lifecycle`]: open, bind, serve, drain: the life of a server on one page;
//! - [`rlimit`]: open files, of which every connection is one;
//! - [`tenants`]: the directory of tenants, who of them can be served, and who may call;
//! - [`admission`]: who may run now;
//! - [`http`]: connections, the three calls, and the shapes of what they read and write;
//! - [`error`]: the closed list of codes, and the one place that turns them into answers;
//! - [`limits`]: every limit in one table, with the test that reaches it;
//! - [`admin`], [`metrics`], [`telemetry`]: what an operator sees.
//!
//! The binary `namelock` is [`cli::run`] and nothing else, so whatever it does can be done in a test.

#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod rlimit;
pub mod source;
pub mod telemetry;
pub mod tenants;
pub mod units;
