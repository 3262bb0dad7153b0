//! Saves and frees its name, with as many attributes as it may, for as long as it is let.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let attributes = [("fill".to_owned(), "x".repeat(4000))];
    name_lock(&request.name, Duration::ZERO, |lease| {
        loop {
            lease.save(&request.owner, request.lifetime, &attributes)?;
            lease.free()?;
        }
    })
}
