//! Writes to 12 MiB of memory, and refuses the name: `had it`.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    std::hint::black_box(vec![1u8; 12 << 20]);
    Err(Rejection::Invalid("had it".to_owned()))
}
