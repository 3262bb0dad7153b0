//! Saves a thousand attributes.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let attributes: Vec<_> = (0..1000).map(|number| (number.to_string(), String::new())).collect();
    name_lock(&request.name, Duration::ZERO, |lease| {
        Ok(lease.save(&request.owner, request.lifetime, &attributes)?)
    })
}
