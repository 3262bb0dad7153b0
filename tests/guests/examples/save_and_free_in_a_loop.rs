//! Saves and frees one name again and again until it is refused.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    loop {
        name_lock(&request.name, Duration::ZERO, |lease| {
            lease.save(&request.owner, None, &[])?;
            lease.free()?;
            Ok::<_, Rejection>(())
        })?;
    }
}
