//! Saves, and panics in the destructor of something that it leaves behind.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("the destructor gave up");
    }
}

fn register(request: Request) -> Result<Registration, Rejection> {
    name_lock(&request.name, Duration::ZERO, |lease| {
        let _trap = Trap;
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
