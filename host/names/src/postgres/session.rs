//! What this crate requires of every session, whatever its URL asks for.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use crate::rules::stored_ms;

/// What sessions of one kind have in common.
pub(crate) struct Session<'a> {
    /// By this name the server's operator tells it from others.
    pub(crate) application: &'a str,
    /// How long a statement may take, and wait for a lock.
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// More options, as `-c name=value`.
    pub(crate) options: &'a str,
}

impl Session<'_> {
    /// Adds what is required to what the URL asks for.
    pub(crate) fn configure(&self, mut server: Config) -> Config {
        let timeout_ms = stored_ms(self.timeout);
        // The kernel counts whole seconds.
        let keepalive = self.timeout.max(Duration::from_secs(1));
        // Of two values for one option the last wins, so the requirements of this crate come after those of the URL.
        // Keeps P2: with synchronous_commit a commit returns only when it is on the server's disk, and on that of its synchronous
        // standby; that it was not waited for is said by a warning, see `link`.
        let options = format!(
            "{} -c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms} -c synchronous_commit=on \
             -c client_min_messages=warning -c default_transaction_isolation=read\\ committed -c idle_in_transaction_session_timeout={timeout_ms} {}",
            server.get_options().unwrap_or_default(),
            self.options,
        );
        server
            .application_name(self.application)
            .options(options.trim())
            .connect_timeout(self.connect_timeout)
            .tcp_user_timeout(self.timeout)
            // A server that has vanished while it was waited for, which a commit and a migration may do for long: the
            // kernel asks it after this time, and gives it up with the second question, which is later than
            // tcp_user_timeout.
            .keepalives_idle(keepalive)
            .keepalives_interval(keepalive)
            // Not a standby, which replays another server and cannot write.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        server
    }
}
