//! Makes up a name: saves a random code in the place of the name that was asked for, as a handler of campaign codes does.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    // Its keys are random.
    let code = format!("{}-{:016x}", request.name, RandomState::new().hash_one(()));
    name_lock(&code, Duration::ZERO, |lease| {
        Ok(lease.save(&request.owner, request.lifetime, &request.attributes)?)
    })
}
