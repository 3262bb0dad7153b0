//! Computes for ever while it is instantiated, before anything of it is called.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid("the start did not last for ever".to_owned()))
}

/// What makes a component of this takes the function of this name for its start. Rust's libraries have none.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    loop {
        std::hint::spin_loop();
    }
}
