//! Saves two names at once, and two more, until it is refused.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, Write, apply, name_locks};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    for number in 0.. {
        let names = ["a", "b"].map(|letter| format!("{}-{number}-{letter}", request.name));
        name_locks(&names.each_ref().map(String::as_str), Duration::ZERO, |leases| {
            let lifetime = Some(Duration::from_secs(60));
            let writes = leases
                .iter()
                .map(|lease| Write::save(lease, &request.owner, lifetime, &[]));
            apply(writes.collect())?;
            Ok::<_, Rejection>(())
        })?;
    }
    Err(Rejection::Invalid("there are no more numbers".to_owned()))
}
