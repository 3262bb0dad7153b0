//! Writes 8192 lines of one letter, of which a log has many more bytes than the guest wrote.

use std::io::Write;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let lines = "x\n".repeat(8192);
    let written = std::io::stdout().write_all(lines.as_bytes());
    Err(Rejection::Invalid(format!("{written:?}")))
}
