//! Saves with a lease that it has released.

use namelock_guest::{
    Registration, Rejection, Request, SaveError,
    bindings::namelock::registration::{
        locks::{Lease, acquire, release},
        names::save,
    },
};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let Ok(lease) = acquire(&request.name, 0) else {
        return Err(Rejection::Taken);
    };
    let handle = lease.handle();
    if release(lease).is_err() {
        return Err(Rejection::Taken);
    }
    // SAFETY: the handle is no longer this component's, which is the point: the host has to notice.
    let stale = unsafe { Lease::from_handle(handle) };
    Ok(save(&stale, &request.owner, None, &[]).map_err(SaveError::from)?)
}
