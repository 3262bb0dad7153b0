//! Asks five hundred times how long its lease lasts.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        let longest = (0..500).map(|_| lease.remaining()).max();
        Err(Rejection::Invalid(format!("{longest:?}")))
    })
}
