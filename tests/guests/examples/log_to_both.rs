//! Writes to standard output and standard error in turn.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    for line in 0..500 {
        println!("out {line}");
        eprintln!("err {line}");
    }
    Err(Rejection::Invalid("wrote to both".to_owned()))
}
