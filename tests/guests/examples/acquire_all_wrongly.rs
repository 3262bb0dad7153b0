//! Acquires several names at once in every way that is refused, then as many as it may: `none: …; doubled: …; …; got 7`.

use std::time::Duration;

use namelock_guest::{AcquireError, Registration, Rejection, Request, acquire, acquire_all};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let names: Vec<_> = (0..9).map(|number| format!("{}-{number}", request.name)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let held = acquire(names[0], Duration::ZERO)?;
    let long = "x".repeat(256);
    let tries: [(&str, &[&str]); 6] = [
        ("none", &[]),
        ("doubled", &[names[1], names[2], names[1]]),
        ("held", &[names[1], names[0]]),
        ("empty", &[names[1], ""]),
        ("long", &[names[1], &long]),
        ("too many", &names[1..9]),
    ];
    let mut told = Vec::new();
    for (what, names) in tries {
        match acquire_all(names, Duration::ZERO) {
            Err(AcquireError::InvalidName { reason } | AcquireError::Limit { reason }) => {
                told.push(format!("{what}: {reason}"));
            }
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Rejection::Unavailable(format!("{what} was granted"))),
        }
    }
    // None of them has kept anything.
    let leases = acquire_all(&names[1..8], Duration::ZERO)?;
    let in_order = leases
        .iter()
        .zip(&names[1..])
        .all(|(lease, name)| lease.name() == *name);
    told.push(format!("got {}, in order: {in_order}", leases.len()));
    drop((held, leases));
    Err(Rejection::Invalid(told.join("; ")))
}
