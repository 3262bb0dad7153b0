//! Saves, then sleeps for as many milliseconds as the attribute `hold_ms` says before it answers, holding the lease.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request, find, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let hold = namelock_test_guests::hold_time(&request)?;
    name_lock(&request.name, Duration::ZERO, |lease| {
        if find(&request.name)?.is_some() {
            return Err(Rejection::Taken);
        }
        let saved = lease.save(&request.owner, request.lifetime, &request.attributes)?;
        sleep(hold);
        Ok(saved)
    })
}
