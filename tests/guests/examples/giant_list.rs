//! Returns a registration with 200,000 empty attributes.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    Ok(Registration {
        name: request.name,
        owner: request.owner,
        created_ms: 1,
        expires_ms: None,
        fencing_token: 1,
        attributes: vec![(String::new(), String::new()); 200_000],
    })
}
