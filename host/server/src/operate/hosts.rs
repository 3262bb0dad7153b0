//! Which hosts are asked, and what an operator has to be let in: flags, and what the environment has.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::client::Access;
use super::tls::TlsFlags;
use super::token::{self, Token};
use crate::config::source::ConfigError;

/// The variable of the environment that has the addresses of the hosts. It is not the one of `serve`, whose `--admin` is an address to
/// listen on: who has set that for a host would ask there.
const HOSTS: &str = "NAMELOCK_HOSTS";

/// How many hosts are asked at most.
const HOSTS_MAX: usize = 100;

/// The hosts that a command asks, and how it is let in.
#[derive(Args, Debug)]
pub(crate) struct HostFlags {
    /// The admin listener of the host, or of several hosts, separated by commas [env: NAMELOCK_HOSTS] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_delimiter = ',', global = true)]
    admin: Vec<SocketAddr>,
    /// File with the secret of a token, if the hosts ask for one [default: what NAMELOCK_ADMIN_TOKEN has]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFlags,
}

/// What commands for operators take from the environment.
#[derive(Debug, Default)]
pub struct AdminEnv {
    hosts: Option<OsString>,
    token: Option<OsString>,
}

impl AdminEnv {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        Self {
            hosts: std::env::var_os(HOSTS),
            token: std::env::var_os(token::VARIABLE),
        }
    }
}

impl HostFlags {
    /// The hosts, and what opens them.
    pub(crate) fn read(&self, env: AdminEnv) -> Result<(Vec<SocketAddr>, Access), ConfigError> {
        let hosts = hosts(&self.admin, env.hosts)?;
        let access = Access {
            token: Token::find(self.token_file.as_deref(), env.token)?,
            tls: self.tls.read()?,
        };
        if access.token.is_some() {
            self.tls.guard_secret(&hosts)?;
        }
        Ok((hosts, access))
    }
}

/// The hosts that are asked.
fn hosts(given: &[SocketAddr], env: Option<OsString>) -> Result<Vec<SocketAddr>, ConfigError> {
    let default = SocketAddr::from(([127, 0, 0, 1], 8081));
    let hosts = match (given, env.filter(|text| !text.is_empty())) {
        ([_, ..], _) => given.to_vec(),
        ([], None) => vec![default],
        ([], Some(text)) => {
            let text = text.to_string_lossy();
            let read = |address: &str| {
                address.trim().parse().map_err(|_| {
                    let problem =
                        format!("`{address}` is not an address; write an IP address with a port, as in {default}");
                    ConfigError::new(HOSTS, problem)
                })
            };
            text.split(',').map(read).collect::<Result<_, _>>()?
        }
    };
    if hosts.len() > HOSTS_MAX {
        let problem = format!(
            "{} hosts are too many for one command; write at most {HOSTS_MAX}",
            hosts.len()
        );
        return Err(ConfigError::new("--admin", problem));
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_flag_variable_or_default() {
        let flag = ["127.0.0.1:1".parse().unwrap()];
        let ports = |given: &[SocketAddr], env: Option<&str>| -> Vec<_> {
            let hosts = hosts(given, env.map(OsString::from)).unwrap();
            hosts.iter().map(SocketAddr::port).collect()
        };
        assert_eq!(ports(&flag, Some("127.0.0.1:2")), [1]);
        assert_eq!(ports(&[], Some("127.0.0.1:2, [::1]:3")), [2, 3]);
        assert_eq!(ports(&[], None), [8081]);
        assert_eq!(ports(&[], Some("")), [8081]);
        let error = hosts(&[], Some("here".into())).unwrap_err().to_string();
        assert!(error.starts_with("NAMELOCK_HOSTS: `here` is not an address"), "{error}");
        assert!(hosts(&[flag[0]; HOSTS_MAX + 1], None).is_err());
    }
}
