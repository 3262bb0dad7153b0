//! Saves one attribute of 256 KiB.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let attributes = [("big".to_owned(), "x".repeat(256 << 10))];
    name_lock(&request.name, Duration::ZERO, |lease| {
        Ok(lease.save(&request.owner, request.lifetime, &attributes)?)
    })
}
