//! What the connections of a listener may use.

use std::time::Duration;

use crate::config::HttpConfig;

/// How long after the stop a connection without a request may still bring one: whoever sends it cannot know yet that the
/// connection is about to end.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What the connections of one listener may use.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections open at once; one address has no more of them than are free.
    pub connections: usize,
    /// Idle connections of one address that are closed in a second to make room for its new ones.
    pub replaced: u32,
    /// Longest head of a request, and the most that is read ahead of a body, in bytes; at least 8 KiB.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Requests of one HTTP/2 connection at once.
    pub streams: u32,
    /// Requests of one HTTP/2 connection in a second that its client gives up.
    pub resets: u32,
    /// How long the first head of a connection may take to arrive, its TLS handshake included.
    pub first_head_timeout: Duration,
    /// How long a request's head may take to arrive; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a peer may take to accept more of an answer.
    pub write_timeout: Duration,
    /// How long after the shutdown a connection may still bring its last request; part of `drain`.
    pub last_request: Duration,
    /// How long requests in progress may continue after the shutdown.
    pub drain: Duration,
}

impl ConnectionLimits {
    /// Those of the admin listener, which has to serve a prober, a scraper and a few operators. No key changes them;
    /// `docs/limits.md` tells of them.
    pub const ADMIN: Self = Self {
        connections: 64,
        replaced: 64,
        header_bytes: 16 << 10,
        headers: 64,
        streams: 32,
        resets: 100,
        first_head_timeout: Duration::from_secs(5),
        header_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(10),
        last_request: Duration::from_millis(100),
        drain: Duration::from_secs(1),
    };
}

impl From<&HttpConfig> for ConnectionLimits {
    /// Those of the public listener.
    fn from(http: &HttpConfig) -> Self {
        Self {
            connections: http.connections,
            replaced: http.replaced,
            header_bytes: http.header_bytes,
            headers: http.headers,
            streams: http.streams,
            resets: http.resets,
            first_head_timeout: http.first_head_timeout,
            header_timeout: http.header_timeout,
            write_timeout: http.write_timeout,
            last_request: LAST_REQUEST.min(http.drain / 2),
            drain: http.drain,
        }
    }
}
