//! Writes as much as it may, and traps.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    eprint!("{}", "z\n".repeat(8192));
    panic!("{}", "a long reason ".repeat(1000));
}
