//! Never lets go of its lease: forgets it, and answers that somebody is at work on the name.

use std::{mem::forget, time::Duration};

use namelock_guest::{Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    forget(acquire(&request.name, Duration::ZERO)?);
    Err(Rejection::Busy {
        retry_after: Duration::from_millis(1),
    })
}
