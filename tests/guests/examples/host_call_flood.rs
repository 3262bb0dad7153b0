//! Asks the host for a setting, again and again without end.

use namelock_guest::{Registration, Rejection, Request, setting};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    loop {
        setting("nothing")?;
    }
}
