//! Gives the components of any wasmtime host the lock on a name: the interface `namelock:registration/locks`.
//!
//! What `namelock serve` gives to the handlers of its tenants can be given to any component, by any host that is built on
//! wasmtime: leases on names that hold across processes and machines, over memcached ([`namelock_lock`]). This crate knows
//! nothing of tenants, of the names database or of HTTP.
//!
//! - [`add_to_linker`]: adds the interface to a linker. The data of the store gives a [`LocksView`] of itself ([`LocksHost`]);
//! - [`leases`]: what one component holds, which is given back when its store is dropped, however it ended;
//! - [`watch`]: tells the host when one of these leases is lost, so that it ends the call;
//! - `locks`: the interface, function by function; [`Observer`] sees what it refuses;
//! - [`bindings`]: the WIT as Rust, for hosts that put something of their own in between.
//!
//! A host does three things that this crate cannot do for it:
//!
//! 1. One store for each call, or a component keeps its leases from one call to the next.
//! 2. It ends the call when [`LeaseWatch::lost`](watch::LeaseWatch::lost) returns: a component that goes on has no right to
//!    the name any more. Where what the component writes can be refused by a fencing token, it is.
//! 3. It releases the leases before it gives its answer ([`Leases::release_all`](leases::Leases::release_all)), if whoever
//!    gets the answer shall find the name free. What is left is released in the background.
//!
//! # A host
//!
//! This one gives a plain `wasi:http` component the lock. `cargo run -p namelock-wasmtime --example http -- COMPONENT ADDRESS
//! memcached://HOST:PORT` runs it with a component of your own; `guest/http` has one.
//!
//! ```no_run,standalone_crate
#![doc = include_str!("../examples/http.rs")]
//! ```

pub mod bindings;
pub mod leases;
pub mod watch;

mod locks;

pub use self::leases::{LeaseHandle, Leases};
pub use self::locks::{HasLocks, LocksHost, LocksView, Observer, add_to_linker};
