//! Writes 1 MiB without the end of a line.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    for _ in 0..1024 {
        print!("{}", "y".repeat(1024));
    }
    Err(Rejection::Invalid("wrote no line".to_owned()))
}
