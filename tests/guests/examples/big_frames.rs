//! Calls itself with large variables until its stack runs out of the memory that it lies in.

use std::hint::black_box;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let depth = descend(request.name.len() as u64);
    Err(Rejection::Invalid(format!("came back with {depth}")))
}

#[inline(never)]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 1024]);
    if depth == u64::MAX {
        return depth;
    }
    descend(depth + 1).wrapping_add(frame[depth as usize % 1024])
}
