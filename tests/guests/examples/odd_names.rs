//! Locks and saves names that could break a line or a key, and some that are no names: `6 saved, 3 refused`.

use std::time::Duration;

use namelock_guest::{AcquireError, Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let own = &request.name;
    let names = [
        format!("{own}\0"),
        format!("{own}\n"),
        format!("{own}\r\nflush_all\r\n"),
        format!("{own} {}", "\u{1d11e}".repeat(32)),
        format!("{own}\u{202e}"),
        format!("{own}'; DROP TABLE registrations; --"),
        String::new(),
        "x".repeat(256),
        "x".repeat(64 << 10),
    ];
    let (mut saved, mut refused) = (0, 0);
    for name in &names {
        match acquire(name, Duration::ZERO) {
            Ok(lease) => {
                let registration = lease.save(&request.owner, None, &[])?;
                saved += usize::from(registration.name == *name);
            }
            Err(AcquireError::InvalidName { .. }) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Rejection::Invalid(format!("{saved} saved, {refused} refused")))
}
