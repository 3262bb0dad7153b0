//! Where libfaketime is, which gives a program another clock.

use std::path::{Path, PathBuf};

/// The library to preload.
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
    let mut found = places
        .iter()
        .map(|place| Path::new(place).join("faketime/libfaketime.so.1"));
    found
        .find(|path| path.exists())
        .expect("this test needs libfaketime: install faketime")
}
