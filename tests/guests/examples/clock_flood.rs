//! Reads the clocks five hundred times.

use std::time::Instant;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let begin = Instant::now();
    let latest = (0..500).map(|_| begin.elapsed()).max();
    Err(Rejection::Invalid(format!("it took {latest:?}")))
}
