//! Takes the listeners that a service manager has opened for this process (`sd_listen_fds(3)`).
//!
//! The manager keeps them while the host is started again, so connections that come meanwhile wait in the kernel and none is refused.
//!
//! That a number in the environment is an open file of this process cannot be said without `unsafe`; the crate `listenfd` says it,
//! and looks that it is a TCP socket. What else has to hold is checked here: that the process was meant, that there are no more
//! than two, which is which, and that they listen.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Config;
use crate::config::source::ConfigError;

/// The first descriptor that a manager passes on.
const FIRST: usize = 3;

/// How to open what the host can use.
const HINT: &str = "write ListenStream=ADDRESS:PORT into its .socket unit";

/// Which listener a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Public,
    Admin,
}

/// The listeners that the manager has opened; those that it has not, the host opens itself.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) public: Option<TcpListener>,
    pub(crate) admin: Option<TcpListener>,
}

impl Sockets {
    /// Takes what the environment of this process names. Has to be called before anything else opens a file, which could otherwise get
    /// the number of one that the manager has promised and not passed on.
    ///
    /// # Errors
    ///
    /// When a socket is none of the two listeners of a host.
    pub(super) fn of_process() -> Result<Self, ConfigError> {
        let env = |variable: &str| std::env::var_os(variable);
        let Some(count) = count(
            env("LISTEN_PID").as_deref(),
            env("LISTEN_FDS").as_deref(),
            std::process::id(),
        )?
        else {
            return Ok(Self::default());
        };
        let roles = roles(count, env("LISTEN_FDNAMES").as_deref())?;
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for (index, role) in roles.into_iter().enumerate() {
            let listener = take(&mut passed, index)?;
            match role {
                Role::Public => sockets.public = Some(listener),
                Role::Admin => sockets.admin = Some(listener),
            }
        }
        Ok(sockets)
    }

    /// Writes where they are into the configuration, so that whatever is decided by an address is decided by the real one: who may
    /// reach a tenant without tokens, and who the admin listener.
    // Keeps P7: a socket of the manager does not make public what its address in the file would have kept private.
    pub(crate) fn place(&self, config: &mut Config) -> Result<(), ConfigError> {
        let place = |listener: &Option<TcpListener>, address: &mut SocketAddr| match listener {
            Some(listener) => {
                *address = listener
                    .local_addr()
                    .map_err(|error| wrong(format!("cannot tell where a socket listens: {error}")))?;
                Ok(())
            }
            None => Ok(()),
        };
        place(&self.public, &mut config.http.listen)?;
        place(&self.admin, &mut config.admin.listen)
    }
}

fn wrong(problem: impl AsRef<str>) -> ConfigError {
    ConfigError::new("LISTEN_FDS", problem)
}

/// How many sockets are passed to the process with this id; none: they are for another one, or there are no such variables.
fn count(pid: Option<&OsStr>, fds: Option<&OsStr>, own: u32) -> Result<Option<usize>, ConfigError> {
    let (Some(pid), Some(fds)) = (pid.and_then(OsStr::to_str), fds) else {
        return Ok(None);
    };
    // Variables are inherited, and sockets are not: those of another process are its own.
    if pid.parse() != Ok(own) {
        return Ok(None);
    }
    let count = fds.to_str().and_then(|fds| fds.parse().ok());
    match count {
        Some(count @ 0..=2) => Ok(Some(count)),
        Some(more) => Err(wrong(format!(
            "{more} sockets are passed to this process, and a host has two listeners, `http` and `admin`; take the others out of \
             its .socket units"
        ))),
        None => Err(wrong(format!("`{}` is not a number of sockets", fds.display()))),
    }
}

/// Which of the sockets is which. Those without a name are the public and the admin listener, in this order, as far as no other has
/// the name.
fn roles(count: usize, names: Option<&OsStr>) -> Result<Vec<Role>, ConfigError> {
    let names = match names {
        Some(names) => names
            .to_str()
            .ok_or_else(|| ConfigError::new("LISTEN_FDNAMES", format!("`{}` is not text", names.display())))?,
        None => "",
    };
    let mut names: Vec<_> = names.split(':').collect();
    if names == [""] {
        names = vec![""; count];
    }
    if names.len() != count {
        let problem = format!("it has {} names, and LISTEN_FDS has {count} sockets", names.len());
        return Err(ConfigError::new("LISTEN_FDNAMES", problem));
    }
    let named = |name: &&str| match *name {
        "http" => Ok(Some(Role::Public)),
        "admin" => Ok(Some(Role::Admin)),
        // What systemd says where FileDescriptorName= is missing: the name of the unit.
        unit if unit.is_empty() || unit == "unknown" || unit.ends_with(".socket") => Ok(None),
        other => {
            let problem = format!(
                "no listener of a host is called `{other}`; write FileDescriptorName=http or FileDescriptorName=admin into the \
                 .socket unit"
            );
            Err(ConfigError::new("LISTEN_FDNAMES", problem))
        }
    };
    let named: Vec<Option<Role>> = names.iter().map(named).collect::<Result<_, _>>()?;
    let mut roles = Vec::new();
    for (index, role) in named.iter().enumerate() {
        let is_free = |role: &Role| !roles.contains(role) && !named[index + 1..].contains(&Some(*role));
        let role = role.or_else(|| [Role::Public, Role::Admin].into_iter().find(is_free));
        match role {
            Some(role) if !roles.contains(&role) => roles.push(role),
            _ => {
                let problem = "two sockets have the same name; call one `http` and the other `admin`";
                return Err(ConfigError::new("LISTEN_FDNAMES", problem));
            }
        }
    }
    Ok(roles)
}

fn take(passed: &mut ListenFd, index: usize) -> Result<TcpListener, ConfigError> {
    let number = FIRST + index;
    let none = |why: String| {
        wrong(format!(
            "descriptor {number} is not a TCP socket that listens ({why}); {HINT}"
        ))
    };
    let taken = passed
        .take_tcp_listener(index)
        .map_err(|error| none(error.to_string()))?;
    let listener = taken.ok_or_else(|| none("it is not open".to_owned()))?;
    match SockRef::from(&listener).is_listener() {
        Ok(true) => {}
        Ok(false) => return Err(none("nobody has called listen(2)".to_owned())),
        Err(error) => return Err(none(error.to_string())),
    }
    listener
        .set_nonblocking(true)
        .map_err(|error| none(error.to_string()))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn sockets_of_another_process_are_left_alone() {
        let count = |pid: &str, fds: &str| count(Some(pid.as_ref()), Some(fds.as_ref()), 7);
        assert_eq!(count("7", "2"), Ok(Some(2)));
        assert_eq!(count("8", "2"), Ok(None));
        assert_eq!(count("", "2"), Ok(None));
        assert_eq!(super::count(None, Some("2".as_ref()), 7), Ok(None));
        assert_eq!(super::count(Some("7".as_ref()), None, 7), Ok(None));
    }

    #[test]
    fn more_sockets_than_listeners_are_refused() {
        let count = |fds: &str| count(Some("7".as_ref()), Some(fds.as_ref()), 7);
        assert_eq!(
            text(count("3")),
            "LISTEN_FDS: 3 sockets are passed to this process, and a host has two listeners, `http` and `admin`; take the others \
             out of its .socket units"
        );
        assert!(text(count("18446744073709551615")).starts_with("LISTEN_FDS: 18446744073709551615 sockets"));
        assert_eq!(text(count("-1")), "LISTEN_FDS: `-1` is not a number of sockets");
    }

    #[test]
    fn a_socket_is_what_it_is_called_and_one_without_a_name_what_is_left() {
        use Role::{Admin, Public};
        let roles = |count: usize, names: &str| roles(count, Some(names.as_ref()));
        assert_eq!(super::roles(2, None), Ok(vec![Public, Admin]));
        assert_eq!(super::roles(1, None), Ok(vec![Public]));
        assert_eq!(roles(0, ""), Ok(vec![]));
        assert_eq!(roles(2, "admin:http"), Ok(vec![Admin, Public]));
        assert_eq!(roles(1, "admin"), Ok(vec![Admin]));
        assert_eq!(roles(2, "namelock.socket:namelock.socket"), Ok(vec![Public, Admin]));
        assert_eq!(roles(2, "unknown:http"), Ok(vec![Admin, Public]));
        assert_eq!(roles(2, "admin:"), Ok(vec![Admin, Public]));
    }

    #[test]
    fn a_name_of_no_listener_and_one_that_comes_twice_are_refused() {
        let roles = |count: usize, names: &str| text(roles(count, Some(names.as_ref())));
        assert_eq!(
            roles(1, "https"),
            "LISTEN_FDNAMES: no listener of a host is called `https`; write FileDescriptorName=http or FileDescriptorName=admin \
             into the .socket unit"
        );
        assert_eq!(
            roles(2, "http:http"),
            "LISTEN_FDNAMES: two sockets have the same name; call one `http` and the other `admin`"
        );
        assert_eq!(
            roles(2, "http"),
            "LISTEN_FDNAMES: it has 1 names, and LISTEN_FDS has 2 sockets"
        );
    }
}
