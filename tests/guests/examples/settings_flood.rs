//! Reads a setting that there is not, five hundred times.

use namelock_guest::{Registration, Rejection, Request, setting};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    for number in 0..500 {
        // Whatever it answers, it is asked again.
        let _ = setting(&format!("setting-{number}"));
    }
    Err(Rejection::Invalid("read the settings".to_owned()))
}
