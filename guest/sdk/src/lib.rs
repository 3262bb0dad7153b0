//! The SDK for registration handlers in Rust: the lock on a name, the names, the tenant's settings.
//!
//! A handler decides who gets which name. It is compiled to a WebAssembly component, and the host makes a fresh
//! instance of it for every request: nothing that one call leaves in memory is seen by the next.
//!
//! # A complete handler
//!
//! ```
//! use std::time::Duration;
//!
//! use namelock_guest::{Handler, Registration, Rejection, Request, find, name_lock};
//!
//! struct Codes;
//!
//! impl Handler for Codes {
//!     fn register(request: Request) -> Result<Registration, Rejection> {
//!         let code = request.name.trim().to_uppercase();
//!         if code.len() < 4 {
//!             return Err(Rejection::Invalid("a code has at least four letters".to_owned()));
//!         }
//!         // While this block runs, no other call on any machine works on the code.
//!         name_lock(&code, Duration::ZERO, |lease| {
//!             if find(&code)?.is_some() {
//!                 return Err(Rejection::Taken);
//!             }
//!             Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
//!         })
//!     }
//!
//!     fn free(name: String, owner: String) -> Result<(), Rejection> {
//!         let code = name.trim().to_uppercase();
//!         name_lock(&code, Duration::ZERO, |lease| match find(&code)? {
//!             Some(registration) if registration.owner != owner => {
//!                 Err(Rejection::Forbidden("the code belongs to somebody else".to_owned()))
//!             }
//!             Some(_) => {
//!                 lease.free()?;
//!                 Ok(())
//!             }
//!             None => Ok(()),
//!         })
//!     }
//! }
//!
//! namelock_guest::export!(Codes);
//!
//! // A test on the development machine; see "Tests" below.
//! let world = namelock_guest::fake::World::new();
//! let code = world.register::<Codes>(namelock_guest::fake::request(" ab12 ", "ada"))?;
//! assert_eq!(code.name, "AB12");
//! let second = world.register::<Codes>(namelock_guest::fake::request("ab12", "bob"));
//! assert_eq!(second, Err(Rejection::Taken));
//! # Ok::<_, Rejection>(())
//! ```
//!
//! Its `Cargo.toml` has `crate-type = ["cdylib"]` under `[lib]` and depends on this crate. Install the target once, by
//! `rustup target add wasm32-wasip2`; then `cargo build --release --target wasm32-wasip2` builds the component, which
//! the host loads as `handler.wasm` from the tenant's folder.
//!
//! Rust reserves 1 MiB of stack in every component, which the host has to clear after every call. A handler runs faster
//! with a smaller stack, set by these lines in `.cargo/config.toml`:
//!
//! ```toml
//! [target.wasm32-wasip2]
//! rustflags = ["-C", "link-arg=-zstack-size=65536"]
//! ```
//!
//! # More
//!
//! - [`Updates`] lets registrations be prolonged, handed over and changed.
//! - [`name_locks`] takes several names at once, and [`apply`] writes them in one transaction.
//! - [`list`] returns the tenant's registrations, page by page.
//!
//! # What to rely on
//!
//! - [`name_lock`] releases the lease however its block ends; after a panic the host does.
//! - `?` converts every error of this crate into the [`Rejection`] that fits it.
//! - The names database decides what is saved, not the lock: [`Lease::save`] returns [`SaveError::Taken`] if the name
//!   has an active registration or is held for its last owner, whatever the lock said.
//! - A name is locked and saved exactly as it is given, byte for byte. A handler that treats two spellings as one name
//!   brings them into one form first.
//! - Standard output and standard error go to the tenant's log. So does the message of a panic; the caller is only told
//!   that the handler failed.
//! - Memory, processor time and the number of leases are limited per call. There are no files, no sockets and no
//!   environment variables.
//!
//! # Tests
//!
//! The crate also compiles for the machine it is developed on, so that `cargo test` runs a handler without WebAssembly.
//! With the feature `fake`, what a handler calls is an in-memory host, which a test sets up by `fake::World`: it
//! registers names and holds locks as other callers, sets settings, takes services down and moves the clock.
//!
//! ```toml
//! [dev-dependencies]
//! namelock-guest = { path = "../namelock/guest/sdk", features = ["fake"] }
//! ```
//!
//! Without the feature, the functions that call the host ([`acquire`], [`find`], [`setting`] and everything built on
//! them) panic natively. A component never has the fake in it, even if the feature is on.
//!
//! # Random numbers
//!
//! `getrandom::fill(&mut bytes)` of the crate `getrandom` 0.4, and `rand` on top of it, draw from the host
//! (`wasi:random`), different numbers in every call; there is nothing to switch on. They count towards the call's limit
//! of random bytes.
//!
//! ```
//! let mut bytes = [0; 8];
//! getrandom::fill(&mut bytes)?;
//! # Ok::<_, getrandom::Error>(())
//! ```

pub mod bindings;
mod duration;
#[cfg(all(feature = "fake", not(target_arch = "wasm32")))]
pub mod fake;
mod handler;
mod host;
mod lease;
mod names;
mod settings;
mod updates;

#[doc(hidden)]
pub use handler::Exported;
pub use handler::{Handler, Rejection, Request};
pub use lease::{AcquireError, Lease, Lost, acquire, acquire_all, name_lock, name_locks};
pub use names::{Change, Lifetime, NamesError, Page, Query, Registration, SaveError, Write, apply, find, list};
pub use settings::{SettingError, setting, setting_parsed};
pub use updates::{UpdateRejection, UpdateRequest, Updates};
