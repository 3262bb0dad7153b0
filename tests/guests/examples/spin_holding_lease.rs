//! Computes for ever while it holds the lease, without asking the host for anything.

use std::{hint::spin_loop, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |_lease| {
        loop {
            spin_loop();
        }
    })
}
