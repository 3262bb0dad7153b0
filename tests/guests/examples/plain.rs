//! Does what a handler does, and nothing to the name: locks it, looks, saves it with the attributes that came.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, find, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        if find(&request.name)?.is_some() {
            return Err(Rejection::Taken);
        }
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
