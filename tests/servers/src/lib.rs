//! Real servers for tests, started on free ports and stopped when they go out of scope, also when a test fails.
//!
//! Each is run by `setpriv --pdeathsig KILL`, so that it also ends when the test's process is killed. A server that is not
//! installed is a failure with a line that says what to install, never a skipped test.

mod certificates;
mod clock;
mod haproxy;
mod memcached;
mod pair;
mod port;
mod postgres;
mod process;
mod prometheus;
mod protection;
mod raw;
mod redis;
mod registry;

pub use certificates::{Authority, Identity};
pub use clock::faketime;
pub use haproxy::Haproxy;
pub use memcached::Memcached;
pub use pair::PostgresPair;
pub use port::free_port;
pub use postgres::Postgres;
pub use process::{Process, signal, wait_until, wait_until_ready};
pub use prometheus::{Prometheus, SCRAPER};
pub use protection::Protection;
pub use raw::RawMemcached;
pub use redis::Redis;
pub use registry::{Guard, Registry};
