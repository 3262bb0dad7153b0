//! Acquires and drops a lease twenty times, each of another name: `20 times`.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    for number in 0..20 {
        drop(acquire(&format!("{} {number}", request.name), Duration::ZERO)?);
    }
    Err(Rejection::Invalid("20 times".to_owned()))
}
