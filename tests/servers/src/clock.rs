//! Wrong clocks.

use std::path::{Path, PathBuf};

/// The library that gives a program another clock, for `LD_PRELOAD`.
///
/// # Panics
///
/// When it is not installed.
pub fn faketime() -> PathBuf {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let found = places.map(|place| Path::new(place).join("faketime/libfaketime.so.1"));
    found
        .into_iter()
        .find(|path| path.exists())
        .expect("this test needs libfaketime: run `make setup`, or on Debian `apt-get install faketime`")
}
