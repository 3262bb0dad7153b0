//! Says that the name may be free after as many milliseconds as can be said.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Busy {
        retry_after: Duration::MAX,
    })
}
