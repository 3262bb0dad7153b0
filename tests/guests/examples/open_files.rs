//! Reads, writes and lists files, and answers how many of these worked: `0 worked`.

use std::fs;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let tries = [
        fs::read("/etc/passwd").is_ok(),
        fs::read("../tenant.toml").is_ok(),
        fs::write("/tmp/left-behind", "x").is_ok(),
        fs::write("left-behind", "x").is_ok(),
        fs::read_dir("/").is_ok(),
        fs::read_dir(".").is_ok(),
        fs::create_dir("left-behind").is_ok(),
        fs::hard_link("/etc/passwd", "passwd").is_ok(),
    ];
    let worked = tries.into_iter().filter(|worked| *worked).count();
    Err(Rejection::Invalid(format!("{worked} worked")))
}
