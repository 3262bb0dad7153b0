//! Waits as long as it can say for a name that it holds itself.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, acquire, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |_lease| {
        acquire(&request.name, Duration::MAX)?;
        Err(Rejection::Invalid("it was given the name twice".to_owned()))
    })
}
