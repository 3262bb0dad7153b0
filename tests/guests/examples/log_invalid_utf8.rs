//! Writes bytes that are no text: each takes more room in the log than it has here.

use std::io::Write as _;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let written = std::io::stdout().write_all(&[0xff; 8192]);
    Err(Rejection::Invalid(format!("{written:?}")))
}
