//! Keeps its lease in a global, and saves with the one that an earlier call left there.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use namelock_guest::{
    Registration, Rejection, Request, SaveError,
    bindings::namelock::registration::{
        locks::{Lease, acquire},
        names::save,
    },
};

namelock_test_guests::guest!(register);

static HANDLE: AtomicU32 = AtomicU32::new(0);

fn register(request: Request) -> Result<Registration, Rejection> {
    let kept = HANDLE.load(Ordering::Relaxed);
    if kept != 0 {
        // SAFETY: if there is no lease behind this handle the host has to notice.
        let lease = unsafe { Lease::from_handle(kept) };
        return Ok(save(&lease, &request.owner, None, &[]).map_err(SaveError::from)?);
    }
    let lease = acquire(&request.name, 0).map_err(namelock_guest::AcquireError::from)?;
    HANDLE.store(lease.take_handle(), Ordering::Relaxed);
    Err(Rejection::Busy {
        retry_after: Duration::from_millis(1),
    })
}
