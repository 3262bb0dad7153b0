//! Refuses the name with 8 MiB of words.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid("x".repeat(8 << 20)))
}
