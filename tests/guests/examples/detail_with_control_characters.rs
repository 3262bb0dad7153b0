//! Refuses with a text that would break a line, a header or a terminal.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Invalid(
        "\r\nx-forged: 1\r\n\r\n\u{0}\u{1b}[31m\u{2028}\"}".to_owned(),
    ))
}
