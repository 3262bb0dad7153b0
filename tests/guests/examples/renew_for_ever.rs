//! Renews its lease every few milliseconds, and never ends.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        loop {
            lease.renew()?;
            sleep(Duration::from_millis(5));
        }
    })
}
