//! Saves one name after another, each with as many attributes as it may have, until it is refused.

use std::time::Duration;

use namelock_guest::{Registration, Rejection, Request, name_lock};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let attributes = [("filler".to_owned(), "x".repeat(4000))];
    for number in 0.. {
        name_lock(&format!("{}-{number}", request.name), Duration::ZERO, |lease| {
            Ok::<_, Rejection>(lease.save(&request.owner, Some(Duration::from_secs(60)), &attributes)?)
        })?;
    }
    Err(Rejection::Invalid("there are no more numbers".to_owned()))
}
