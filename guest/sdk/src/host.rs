//! What a handler calls: the functions and resources of the contract, or what stands in for them in a native test.
//!
//! A native build has no host to call. With the feature `fake` it calls an in-memory host, which `fake::World` sets up;
//! without it, it panics. A component always calls its host, whatever features are on.

#[cfg(any(test, not(feature = "fake")))]
#[cfg(not(target_arch = "wasm32"))]
#[cfg_attr(feature = "fake", expect(dead_code, reason = "only its own tests use it then"))]
mod absent;
#[cfg(all(feature = "fake", not(target_arch = "wasm32")))]
pub(crate) mod fake;

#[cfg(all(not(feature = "fake"), not(target_arch = "wasm32")))]
pub(crate) use absent::{locks, names, store};
#[cfg(all(feature = "fake", not(target_arch = "wasm32")))]
pub(crate) use fake::{locks, names, store};

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::{
    namelock::registration::{locks, names},
    wasi::config::store,
};
