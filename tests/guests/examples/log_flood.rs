//! Writes one line of 1 MiB and then many short ones to the tenant's log.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    eprintln!("{}", "x".repeat(1 << 20));
    for line in 0..2_000 {
        println!("line {line}: nobody reads this");
    }
    Err(Rejection::Invalid("flooded the log".to_owned()))
}
