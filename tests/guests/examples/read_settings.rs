//! Answers all settings that it can read.

use namelock_guest::{Registration, Rejection, Request, bindings::wasi::config::store::get_all};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid(format!("{:?}", get_all().unwrap_or_default())))
}
