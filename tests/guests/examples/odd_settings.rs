//! Reads a setting that is no number as one.

use namelock_guest::{Registration, Rejection, Request, setting_parsed};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    match setting_parsed::<u32>("wait_ms") {
        Ok(wait) => Err(Rejection::Invalid(format!("{wait:?}"))),
        Err(_) => Err(Rejection::Invalid("cannot read it".to_owned())),
    }
}
