//! Acquires its name 200 times, whatever the answer is, and answers how often it got the lock.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let got = (0..200)
        .filter(|_| acquire(&request.name, Duration::ZERO).is_ok())
        .count();
    Err(Rejection::Invalid(format!("got {got}")))
}
