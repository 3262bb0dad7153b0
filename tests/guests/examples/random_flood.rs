//! Asks for 1 GiB of random bytes at once.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid(format!(
        "got {} random bytes",
        random_bytes(1 << 30)
    )))
}

#[cfg(target_arch = "wasm32")]
fn random_bytes(count: u64) -> usize {
    #[link(wasm_import_module = "wasi:random/random@0.2.0")]
    unsafe extern "C" {
        #[link_name = "get-random-bytes"]
        fn get_random_bytes(count: u64, list: *mut [usize; 2]);
    }
    let mut list = [0; 2];
    // SAFETY: `list` has room for a pointer and a length, which is what the host writes.
    unsafe { get_random_bytes(count, &raw mut list) };
    list[1]
}

#[cfg(not(target_arch = "wasm32"))]
fn random_bytes(_: u64) -> usize {
    0
}
