//! What a service manager gives this process.
//!
//! The protocol is that of systemd, which supervisors of containers speak as well. Without a manager there is none of it, and
//! the host is the same.

mod reports;

use std::ffi::OsString;
use std::time::Duration;

pub(super) use self::reports::Reports;

/// What a service manager has given this process; by default there is none.
#[derive(Debug, Default)]
pub struct Manager {
    /// Where it hears what becomes of the process (`NOTIFY_SOCKET`).
    pub(super) socket: Option<OsString>,
    /// Within which time it wants to hear that the process works (`WATCHDOG_USEC`).
    pub(super) watchdog: Option<Duration>,
}

impl Manager {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: sd_notify::watchdog_enabled(),
        }
    }
}
