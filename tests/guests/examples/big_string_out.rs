//! Hands a name of 8 MiB to the host.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    acquire(&"x".repeat(8 << 20), Duration::ZERO)?;
    Err(Rejection::Invalid("the host took it".to_owned()))
}
