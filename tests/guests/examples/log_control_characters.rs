//! Writes what would look like lines of the host, if control characters reached the log as they are.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    println!("\r\u{1b}[2K2026-01-01T00:00:00Z ERROR namelock: forged\u{2028}forged\u{85}forged\u{0}");
    eprintln!("{}", "\u{7}\u{200e}\u{202e}".repeat(1000));
    Err(Rejection::Invalid("wrote the lines".to_owned()))
}
