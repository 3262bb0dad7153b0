//! Ports that stay their server's own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives to whoever connects or asks for any (`ip_local_port_range` begins at 32768):
/// one of those could be somebody else's by the time a server that was killed is started again.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Where this process looks next.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of loopback on which nobody listens now. Another process may be quicker, so whoever starts a server on it
/// looks whether it is its own that answers, and tries another one.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    // Each process begins elsewhere.
    let begin = std::process::id().wrapping_mul(7919) as u16;
    let candidates = (0..COUNT).map(|_| {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        FIRST + offset
    });
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a port is free")
}
