//! Writes to every page of 12 MiB, and sleeps until its time is over.

use std::{thread::sleep, time::Duration};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    let memory = dirty(12 << 20);
    sleep(Duration::from_secs(3600));
    Err(Rejection::Invalid(format!("wrote to {} bytes", memory.len())))
}

/// Writes to every page of this many bytes.
fn dirty(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0u8; bytes];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(memory)
}
