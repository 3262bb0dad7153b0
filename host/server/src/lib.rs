//! The outermost layer of the host: HTTP in front of the sandbox, and the lifecycle of the process.
//!
//! In reading order:
//!
//! - [`cli`]: the command line and the exit codes;
//! - [`config`]: flags, environment and file become one checked [`config::Config`];
//! - [`lifecycle`], [`rlimit`]: open, bind, serve, reload, drain, on one page;
//! - [`tokens`]: who may call a tenant, and who may use the admin listener;
//! - [`tenants`]: the directory of tenants, and which of them can be served;
//! - [`admission`]: which calls may run now;
//! - [`recordings`]: keeps calls that failed;
//! - [`tls`]: the certificates of the listeners; [`logins`]: who was not let in at the admin listener;
//! - [`http`]: connections, the calls, and what they read and write;
//! - [`error`]: the closed list of codes, and the one place that turns them into answers;
//! - [`limits`]: renders the page of all limits from what `config` declares;
//! - [`documents`]: the documents that are generated from declarations;
//! - [`inspect`]: says what a host would be configured with; [`operate`]: asks a running one; [`top`]: watches
//!   some in a terminal; `output`: what commands print;
//! - [`backup`]: writes what the names database keeps of a tenant to a file, and puts it back;
//! - [`new_token`]: makes secrets; [`manual`]: what shells and `man` know of the command line;
//! - [`text`]: errors with their causes, on one bounded line; [`hex`]: bytes as digits;
//! - [`develop`]: what the author of a handler uses;
//! - [`admin`], [`usage`], [`metrics`], [`telemetry`], [`trace`]: what an operator sees; [`readiness`]: whether what the host
//!   needs answers;
//! - [`overview`], [`page`], [`same_site`]: what an operator looks at in a browser, and what keeps other sites from using it.
//!
//! The binary `namelock` is [`cli::run`] and nothing else, so a test can do whatever the binary does.

#![forbid(unsafe_code)]

pub mod cli;

pub mod config;

pub mod lifecycle;
pub mod rlimit;

pub mod tokens;

pub mod tenants;

pub mod admission;

pub mod recordings;

pub mod logins;
pub mod tls;

pub mod http;

pub mod error;

pub mod limits;

pub mod documents;

pub mod backup;
pub mod inspect;
pub mod manual;
pub mod new_token;
pub mod operate;
mod output;
pub mod top;

pub mod hex;
pub mod text;

pub mod develop;

pub mod admin;
pub mod metrics;
pub mod overview;
pub mod page;
pub mod readiness;
pub mod same_site;
pub mod telemetry;
pub mod trace;
pub mod usage;
