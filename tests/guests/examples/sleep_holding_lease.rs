//! Sleeps for as many milliseconds as the attribute `hold_ms` says while it holds the lease, then saves.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let hold = hold_time(&request)?;
    name_lock(&request.name, Duration::ZERO, |lease| {
        sleep(hold);
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}

fn hold_time(request: &Request) -> Result<Duration, Rejection> {
    request
        .attributes
        .iter()
        .find(|(key, _)| key == "hold_ms")
        .and_then(|(_, ms)| ms.parse().ok())
        .map(Duration::from_millis)
        .ok_or_else(|| Rejection::Invalid("the attribute hold_ms is a number of milliseconds".to_owned()))
}
