//! Refuses the name with 512 KiB of words.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid("\u{1d11e}".repeat(128 << 10)))
}
