//! Allocates, and writes to, memory until there is no more.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1u8; 1 << 20]);
        // Otherwise the compiler may see that nobody reads it.
        std::hint::black_box(&mut hoard);
    }
}
