//! Tests of the real binary with real servers: a request goes in over HTTP, and what is checked is what comes out, what stands in
//! memcached and what stands in the database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

mod admission;
mod bad_input;
mod fleet;
mod guests;
mod hostile;
mod postgres;
mod reload;
mod story;
