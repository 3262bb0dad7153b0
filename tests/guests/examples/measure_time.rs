//! Answers what its clocks count in: the greatest whole number of nanoseconds that divides every step, up to a millisecond.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let begin = Instant::now();
    let mut grain = 1_000_000;
    while begin.elapsed() < Duration::from_millis(20) {
        grain = common_divisor(grain, begin.elapsed().as_nanos());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        grain = common_divisor(grain, wall.as_nanos());
        std::thread::sleep(Duration::from_micros(700));
    }
    Err(Rejection::Invalid(format!("{grain} ns")))
}

fn common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
