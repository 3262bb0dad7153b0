//! Acquires and drops a lease a hundred times, each of another name: `100 times`.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    for number in 0..100 {
        drop(acquire(&format!("{} {number}", request.name), Duration::ZERO)?);
    }
    Err(Rejection::Invalid("100 times".to_owned()))
}
