//! What the guests in `examples/` share.
//!
//! Each guest does one thing, and says which in its first line. To add one: a file in `examples/`, an entry in `Cargo.toml`,
//! and a test of the host, without which `foreach_guest!` of `namelock-test-artifacts` does not let the host's tests compile.
//!
//! What no compiler would make is in `raw/`: core modules in WebAssembly's text, which `namelock-test-artifacts` turns into
//! components of the world `registrar`. A file there, and a test, is all that such a guest needs.

use std::time::Duration;

use namelock_guest::{Rejection, Request, name_lock};

/// Makes a function the component's `register`. Its `free` frees the name, whoever asks.
#[macro_export]
macro_rules! guest {
    ($register:path) => {
        struct Guest;

        impl namelock_guest::Handler for Guest {
            fn register(
                request: namelock_guest::Request,
            ) -> Result<namelock_guest::Registration, namelock_guest::Rejection> {
                $register(request)
            }

            fn free(name: String, _owner: String) -> Result<(), namelock_guest::Rejection> {
                $crate::free(&name)
            }
        }

        namelock_guest::export!(Guest);
    };
}

/// Frees a name, whoever has it.
///
/// # Errors
///
/// Whatever the lock or the database answers.
pub fn free(name: &str) -> Result<(), Rejection> {
    name_lock(name, Duration::ZERO, |lease| {
        lease.free()?;
        Ok(())
    })
}

/// How long a request wants its lease to be held: the attribute `hold_ms`.
///
/// # Errors
///
/// The rejection of a request that does not say.
pub fn hold_time(request: &Request) -> Result<Duration, Rejection> {
    request
        .attributes
        .iter()
        .find(|(key, _)| key == "hold_ms")
        .and_then(|(_, ms)| ms.parse().ok())
        .map(Duration::from_millis)
        .ok_or_else(|| Rejection::Invalid("the attribute hold_ms is a number of milliseconds".to_owned()))
}
