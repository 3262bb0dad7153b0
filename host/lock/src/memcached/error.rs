//! Why a connection to a server could not be made.

use std::io;
use std::time::Duration;

use memcache::exp::Error;

use super::tls;

/// Why a connection could not be made. It never tells a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("{0}")]
    Protocol(#[source] Error),
    #[error("no answer in time")]
    Timeout,
    #[error(
        "it closed the connection when it was greeted; is it a memcached? If it wants TLS (-Z), write memcacheds:// in \
         lock.url"
    )]
    Closed,
    #[error("{0}")]
    Tls(String),
    #[error("{0}")]
    Login(String),
    #[error("version {0} is too old to check who releases a lock; it must be 1.6.13 or newer")]
    Version(String),
    #[error("it runs without CAS, so nothing can be released safely; start it without -C")]
    NoCas,
    #[error("it has no memory for namelock's sentinels; give it more (-m)")]
    NoRoom,
    #[error("cannot ask for its epoch: {0}")]
    Epochs(String),
    #[error(
        "its epoch {epoch} is {} s ahead of the clock; restart this memcached once the clock of the host that made it \
         is right",
        ahead.as_secs()
    )]
    Future { epoch: u64, ahead: Duration },
    #[error("its clock does not tick")]
    Clock,
    #[error("{0}")]
    Fleet(String),
    #[error("its items change while they are read")]
    Changing,
}

impl ConnectError {
    /// Whether it is unknown if anybody is there at all.
    pub(super) fn is_unreached(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Timeout)
    }

    /// An error of what is asked first over a connection. A server that closes it then may want it to be otherwise.
    pub(super) fn of_greeting(error: Error, is_tls: bool) -> Self {
        match Self::from(error) {
            Self::Protocol(Error::Io(error)) if is_closed(&error) => match is_tls {
                true => Self::Tls(tls::NOT_WELCOME.into()),
                false => Self::Closed,
            },
            error => error,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        match tls::cause(&error) {
            Some(cause) => Self::Tls(tls::explain(cause)),
            None => Self::Io(error),
        }
    }
}

impl From<Error> for ConnectError {
    /// A server may refuse a client's certificate only once something is read, so that is looked for here too.
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) if tls::cause(&error).is_some() => error.into(),
            error => Self::Protocol(error),
        }
    }
}
