//! Counts its calls in a global, and answers how many there were before: `0 before`.

use std::sync::atomic::{AtomicU32, Ordering};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

static CALLS: AtomicU32 = AtomicU32::new(0);

fn register(_: Request) -> Result<Registration, Rejection> {
    let before = CALLS.fetch_add(1, Ordering::Relaxed);
    Err(Rejection::Invalid(format!("{before} before")))
}
