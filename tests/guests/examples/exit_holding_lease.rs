//! Ends its own process while it holds the lease, and calls that a success.

use std::{process::exit, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |_lease| exit(0))
}
