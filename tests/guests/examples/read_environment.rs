//! Answers how many arguments and environment variables it sees: `0 and 0`.

use std::env;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid(format!(
        "{} and {}",
        env::args_os().count(),
        env::vars_os().count()
    )))
}
