//! Sleeps for as many milliseconds as the attribute `hold_ms` says while it holds the lease, then saves.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let hold = namelock_test_guests::hold_time(&request)?;
    name_lock(&request.name, Duration::ZERO, |lease| {
        sleep(hold);
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
