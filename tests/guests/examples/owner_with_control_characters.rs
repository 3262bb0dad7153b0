//! Saves for an owner whose name is made of control characters.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        Ok(lease.save("\r\n\u{0}\u{1b}\"\\", Some(Duration::from_secs(60)), &[])?)
    })
}
