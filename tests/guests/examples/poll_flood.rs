//! Waits two hundred times for a moment that is over.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    for _ in 0..200 {
        sleep(Duration::from_nanos(1));
    }
    Err(Rejection::Invalid("waited for nothing".to_owned()))
}
