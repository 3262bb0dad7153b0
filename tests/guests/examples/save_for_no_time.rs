//! Saves a registration that lasts for no time.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        Ok(lease.save(&request.owner, Some(Duration::ZERO), &[])?)
    })
}
