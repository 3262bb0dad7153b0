//! What a service manager gives this process.
//!
//! The protocol is that of systemd, which supervisors of containers speak as well. Without a manager there is none of it, and
//! the host is the same.

mod reports;
mod sockets;

use std::ffi::OsString;
use std::time::Duration;

pub(super) use self::reports::Reports;
pub(super) use self::sockets::Sockets;

use crate::config::source::ConfigError;

/// What a service manager has given this process; by default there is none.
#[derive(Debug, Default)]
pub struct Manager {
    /// Where it hears what becomes of the process (`NOTIFY_SOCKET`).
    pub(super) socket: Option<OsString>,
    /// Within which time it wants to hear that the process works (`WATCHDOG_USEC`).
    pub(super) watchdog: Option<Duration>,
    /// The listeners that it has opened (`LISTEN_FDS`).
    pub(super) sockets: Sockets,
}

impl Manager {
    /// Reads the environment of this process. Has to be called before anything else opens a file.
    ///
    /// # Errors
    ///
    /// When the manager has opened sockets that are no listeners of a host.
    pub fn of_process() -> Result<Self, ConfigError> {
        Ok(Self {
            sockets: Sockets::of_process()?,
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: sd_notify::watchdog_enabled(),
        })
    }
}
