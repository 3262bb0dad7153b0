//! How a process that is counted divides its work: into rounds, which valgrind tells apart by the calls of one function.

use std::hint::black_box;

/// The rounds that are made before any counts: caches fill, tables grow, and the tenant has run for as long as it will.
pub const WARM_UP: usize = 3;

/// The rounds that count.
pub const COUNTED: usize = 31;

/// All of them.
pub const ALL: usize = WARM_UP + COUNTED;

/// A pattern of valgrind for the name of [`boundary`] alone.
pub const BOUNDARY: &str = "*namelock_bench_check::round::boundary";

/// Begins a round, or ends it.
#[inline(never)]
pub fn boundary() {
    black_box(());
}
