//! Looks for a name of 64 KiB.

use namelock_guest::{Registration, Rejection, Request, find};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    find(&"x".repeat(64 << 10))?;
    Err(Rejection::Taken)
}
