//! Computes for some milliseconds without asking the host for anything.

use std::hint::black_box;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let mut sum = 0_u64;
    for number in 0..2_000_000_u64 {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
    }
    Err(Rejection::Invalid(format!("the sum is {sum}")))
}
