//! Renews its lease twenty times.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        for _ in 0..20 {
            lease.renew()?;
        }
        Err(Rejection::Invalid("renewed".to_owned()))
    })
}
