//! Pulls components from OCI registries, by their digest, and keeps them.
//!
//! It knows nothing of wasmtime and of tenants: it gives the bytes of a component, or says why not.
//!
//! - [`mod@reference`]: where a component is, and which one; `digest`: names of contents;
//! - `puller`: pulls one; `manifest`: which layer is the component; `authorization`, `credentials`: what a registry wants to see;
//!   `transport`: asks over HTTP, and reads bounded answers;
//! - `cache`: keeps what was pulled;
//! - `config`, `error`: the limits, and why there is nothing.
//!
//! A registry is trusted with nothing but to be there: what it sends is used only if it has the digest that was asked for, and
//! what else it can do (send without end, slowly or nothing, redirect, ask for credentials) has a bound.
//!
//! # Why a client of its own
//!
//! `oci-client` 0.18, which `wkg` uses, was read. It reads manifests, tokens and the bodies of errors of any length into memory,
//! follows redirects and the `urls` of layers to wherever they lead, and goes on with a default where it cannot be configured as it
//! was told, and none of that can be set. What is needed of the protocol is three requests, so they are made here with the HTTP and
//! TLS that the host has already. Two parts are taken from others: the docker config with its helpers (`docker_credential`), and the
//! grammar of challenges (`http-auth`).

mod authorization;
mod cache;
mod config;
mod credentials;
mod digest;
mod error;
mod manifest;
mod puller;
pub mod reference;
mod transport;

pub use cache::Cache;
pub use config::OciConfig;
pub use digest::{Digest, InvalidDigest};
pub use error::{Outcome, PullError};
pub use manifest::Unfit;
pub use puller::{Pulled, Puller};
pub use reference::{InvalidReference, Reference};
