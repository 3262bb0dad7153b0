//! Calls itself without end while it is instantiated.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid("the start came back".to_owned()))
}

#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    std::hint::black_box(descend(std::hint::black_box(1)));
}

/// As in `recurse`, its variables are not in memory.
#[cfg(target_arch = "wasm32")]
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    descend(depth + 1).rotate_left(7).wrapping_mul(depth | 1) ^ depth
}
