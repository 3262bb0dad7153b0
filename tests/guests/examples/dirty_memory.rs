//! Writes a byte to each page of 12 MiB, and ends.

use std::hint::black_box;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let mut memory = vec![0_u8; 12 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    black_box(memory);
    Err(Rejection::Invalid("left it dirty".to_owned()))
}
