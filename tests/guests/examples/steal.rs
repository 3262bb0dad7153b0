//! Looks for a name that somebody else may have, and answers who has it: the owner, or `nobody`.

use namelock_guest::{Registration, Rejection, Request, find};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    let owner = find(&request.name)?.map_or_else(|| "nobody".to_owned(), |registration| registration.owner);
    Err(Rejection::Invalid(owner))
}
