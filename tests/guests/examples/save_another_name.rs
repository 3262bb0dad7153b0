//! Saves another name than the one that it was asked for, and returns that: `not <name>`.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&format!("not {}", request.name), Duration::ZERO, |lease| {
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
