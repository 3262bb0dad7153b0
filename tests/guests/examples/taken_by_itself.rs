//! Saves, and then tries to lock, save and free the same name a second time while it holds the lease.

use std::time::Duration;

use namelock_guest::{AcquireError, Registration, Rejection, Request, SaveError, acquire, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        let saved = lease.save(&request.owner, request.lifetime, &request.attributes)?;
        let busy = matches!(acquire(&request.name, Duration::ZERO), Err(AcquireError::Busy { .. }));
        let taken = matches!(lease.save("eve", None, &[]), Err(SaveError::Taken(_)));
        if busy && taken {
            return Ok(saved);
        }
        Err(Rejection::Invalid("it was given the name twice".to_owned()))
    })
}
