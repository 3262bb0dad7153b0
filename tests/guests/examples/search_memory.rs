//! Counts what others left in the memory that it is given, then leaves a secret in all of it: `0 bytes found`.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

#[cfg(target_arch = "wasm32")]
fn register(_: Request) -> Result<Registration, Rejection> {
    const PAGE_BYTES: usize = 64 << 10;
    const PAGES: usize = 64;

    let first = core::arch::wasm32::memory_grow::<0>(PAGES);
    // SAFETY: nobody else has these pages, which were just added to the memory.
    let memory = unsafe { std::slice::from_raw_parts_mut((first * PAGE_BYTES) as *mut u8, PAGES * PAGE_BYTES) };
    let found = memory.iter().filter(|byte| **byte != 0).count();
    memory.fill(0xa5);
    std::hint::black_box(memory);
    Err(Rejection::Invalid(format!("{found} bytes found")))
}

#[cfg(not(target_arch = "wasm32"))]
fn register(_: Request) -> Result<Registration, Rejection> {
    Err(Rejection::Taken)
}
