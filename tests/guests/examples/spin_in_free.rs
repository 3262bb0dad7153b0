//! Registers as it should; computes for ever in `free`, while it holds the lease.

use std::time::Duration;

use namelock_guest::{Handler, Registration, Rejection, Request, name_lock};

struct Guest;
namelock_guest::export!(Guest);

impl Handler for Guest {
    fn register(request: Request) -> Result<Registration, Rejection> {
        name_lock(&request.name, Duration::ZERO, |lease| {
            Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
        })
    }

    fn free(name: String, _owner: String) -> Result<(), Rejection> {
        name_lock(&name, Duration::ZERO, |_lease| {
            loop {
                std::hint::spin_loop();
            }
        })
    }
}
