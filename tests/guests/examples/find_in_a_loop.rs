//! Looks for names that nobody has, fifty times.

use namelock_guest::{Registration, Rejection, Request, find};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    for number in 0..50 {
        find(&format!("{}-{number}", request.name))?;
    }
    Err(Rejection::Invalid("found nothing".to_owned()))
}
