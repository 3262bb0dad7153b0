//! Traps while it holds the lease, without a word: no code of the guest runs after that.

use std::{process::abort, time::Duration};

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    // In a component this is the instruction `unreachable`.
    name_lock(&request.name, Duration::ZERO, |_lease| abort())
}
