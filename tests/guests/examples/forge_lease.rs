//! Saves with a lease that it never acquired.

use namelock_guest::{
    Registration, Rejection, Request, SaveError,
    bindings::namelock::registration::{locks::Lease, names::save},
};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    // SAFETY: there is no lease behind this handle, which is the point: the host has to notice.
    let forged = unsafe { Lease::from_handle(1) };
    Ok(save(&forged, &request.owner, None, &[]).map_err(SaveError::from)?)
}
