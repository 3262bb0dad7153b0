//! Sleeps for an hour, and holds nothing.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    sleep(Duration::from_secs(3600));
    Err(Rejection::Invalid("slept well".to_owned()))
}
