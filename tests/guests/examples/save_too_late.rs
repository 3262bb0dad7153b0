//! Sleeps until its lease is over, then saves.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        while !lease.remaining().is_zero() {
            sleep(lease.remaining());
        }
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
