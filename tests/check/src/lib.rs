//! Counts how many instructions of the processor the host needs for what every registration needs, and compares the counts with
//! those that are kept in the repository.
//!
//! A time says little on a machine that does other things as well; a count of instructions repeats within two percent at worst,
//! mostly within a half. So a change that makes a registration dearer is seen before it lands, and not in the next report.
//!
//! What is counted is the build of the tests: dependencies little optimised, the crates of the host not at all. So a count says
//! whether the same work has become more or less. It does not say how long that takes: caches, disks, memcached, PostgreSQL and
//! waiting for each other are not in it, nor what the kernel does. `make bench` measures those.
//!
//! In reading order:
//!
//! - [`thing`]: what is counted;
//! - [`round`]: how a process that is counted divides its work;
//! - [`callgrind`]: what valgrind is told, and what it has written;
//! - [`baseline`]: the file of the counts from before, and what they were made with;
//! - [`comparison`]: the counts of now beside it, and what to do about the difference.
//!
//! The binary has the rest: it starts itself under valgrind, once for each thing.

pub mod baseline;
pub mod callgrind;
pub mod comparison;
pub mod round;
pub mod thing;
