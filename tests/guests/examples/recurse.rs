//! Calls itself until the host's stack for guests is full.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid(format!(
        "came back with {}",
        descend(request.name.len() as u64)
    )))
}

/// Holds its variables in the registers of WebAssembly: the stack in the guest's own memory would be full sooner, and that
/// is another trap. What it computes cannot be turned into a loop, and nobody waits for its end.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    descend(depth + 1).rotate_left(7).wrapping_mul(depth | 1) ^ depth
}
