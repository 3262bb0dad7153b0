//! Fills 8 MiB of memory again and again, with one instruction each time.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let mut memory = vec![0u8; 8 << 20];
    let mut value = 0u8;
    loop {
        memory.fill(value);
        value = value.wrapping_add(1);
        std::hint::black_box(&mut memory);
    }
}
