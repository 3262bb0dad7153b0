//! What a registration handler in Rust needs: the lock on a name, the names, the tenant's settings.
//!
//! A handler decides who gets which name. It is compiled to a WebAssembly component, and the host makes a fresh instance
//! of it for every request: nothing that a call leaves in memory is seen by the next.
//!
//! # A whole handler
//!
//! ```no_run
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
//!         // In this block nobody else is at work on the code, on any machine.
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
//! ```
//!
//! Its `Cargo.toml` says `crate-type = ["cdylib"]` under `[lib]` and depends on this crate. After
//! `rustup target add wasm32-wasip2`, the command `cargo build --release --target wasm32-wasip2` makes the component, which
//! the host loads as `handler.wasm` from the tenant's folder.
//!
//! Rust reserves 1 MiB of stack in every component, which the host has to clean after every call. A handler is faster with
//! less of it, by these lines in `.cargo/config.toml`:
//!
//! ```toml
//! [target.wasm32-wasip2]
//! rustflags = ["-C", "link-arg=-zstack-size=65536"]
//! ```
//!
//! # What to rely on
//!
//! - [`name_lock`] releases the lease however its block ends; see there for a panic.
//! - `?` turns every error of this crate into the [`Rejection`] that fits it.
//! - What is saved is decided by the names database, not by the lock: [`Lease::save`] answers [`SaveError::Taken`] when the
//!   name has an active registration, whatever the lock said.
//! - A name is locked and saved as it is given, byte for byte. A handler that means two spellings to be one name puts
//!   them into one form first.
//! - Standard output and standard error go to the tenant's log. A panic is written there too, and the caller is told that
//!   the handler failed.
//! - Memory, processor time and the number of leases are limited per call. There are no files, no sockets and no
//!   environment variables.
//!
//! The crate also compiles for the machine it is developed on, so that a handler's own logic can be tested there. The
//! functions that ask the host ([`acquire`], [`find`], [`setting`] and what is built on them) panic there.

pub mod bindings;
mod duration;
mod handler;
mod lease;
mod names;
mod settings;

#[doc(hidden)]
pub use handler::Exported;
pub use handler::{Handler, Rejection, Request};
pub use lease::{AcquireError, Lease, Lost, acquire, name_lock};
pub use names::{NamesError, Registration, SaveError, find};
pub use settings::{SettingError, setting, setting_parsed};
