//! Reads standard input to its end, and answers how much there was: `0 bytes`.

use std::io::{Read, stdin};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let mut input = Vec::new();
    match stdin().read_to_end(&mut input) {
        Ok(bytes) => Err(Rejection::Invalid(format!("{bytes} bytes"))),
        Err(error) => Err(Rejection::Unavailable(error.to_string())),
    }
}
