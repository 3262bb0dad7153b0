//! Acquires `<name>-0`, `<name>-1` and so on until the host gives no more, and answers how many it got: `got 8`.

use std::time::Duration;

use namelock_guest::{AcquireError, Registration, Rejection, Request, acquire};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let mut hoard = Vec::new();
    loop {
        match acquire(&format!("{}-{}", request.name, hoard.len()), Duration::ZERO) {
            Ok(lease) => hoard.push(lease),
            Err(AcquireError::Limit { .. }) => return Err(Rejection::Invalid(format!("got {}", hoard.len()))),
            Err(error) => return Err(error.into()),
        }
    }
}
