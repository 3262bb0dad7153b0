//! Sleeps for a millisecond, fifty times.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    for _ in 0..50 {
        sleep(Duration::from_millis(1));
    }
    Err(Rejection::Invalid("slept".to_owned()))
}
