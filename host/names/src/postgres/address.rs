//! The servers that a URL names.
//!
//! A URL may name several, `postgres://ann@one:5432,two:5432/names`: a primary and its standbys, of which each may become
//! the primary.

use std::fmt;
use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// How many servers a URL may name.
const SERVERS_MAX: usize = 8;

/// One of the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// None: only its address is given.
    host: Option<Host>,
    /// The address, where it is given beside the host (`hostaddr`).
    given: Option<IpAddr>,
    port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.given) {
            (Some(Host::Tcp(host)), _) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            (Some(Host::Tcp(host)), _) => write!(f, "{host}:{}", self.port),
            (Some(Host::Unix(path)), _) => write!(f, "{}:{}", path.display(), self.port),
            (None, Some(address)) => write!(f, "{}", std::net::SocketAddr::new(address, self.port)),
            (None, None) => f.write_str("no host"),
        }
    }
}

impl Server {
    /// Returns the servers that are named, in order. An error says what is wrong with them.
    pub(crate) fn all(named: &Config) -> Result<Vec<Self>, String> {
        let (hosts, addresses, ports) = (named.get_hosts(), named.get_hostaddrs(), named.get_ports());
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err("it names no host: write postgres://HOST/DATABASE".to_owned());
        }
        if count > SERVERS_MAX {
            return Err(format!("it names {count} servers; name at most {SERVERS_MAX}"));
        }
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(format!(
                "it names {} hosts, and {} addresses for them (hostaddr): give one for each, or none",
                hosts.len(),
                addresses.len()
            ));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(format!(
                "it names {count} servers and {} ports: give one for each, or one",
                ports.len()
            ));
        }
        let server = |index: usize| Self {
            host: hosts.get(index).cloned(),
            given: addresses.get(index).copied(),
            port: ports.get(index).or(ports.first()).copied().unwrap_or(5432),
        };
        Ok((0..count).map(server).collect())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Looks up where it is. None: what [`alone`](Self::alone) needs is known already.
    pub(crate) async fn look_up(&self) -> std::io::Result<Vec<Option<IpAddr>>> {
        match (&self.host, self.given) {
            (Some(Host::Tcp(host)), None) => {
                let found = tokio::net::lookup_host((host.as_str(), self.port)).await?;
                Ok(found.map(|address| Some(address.ip())).collect())
            }
            (Some(Host::Unix(_)) | None, None) => Ok(vec![None]),
            (_, Some(address)) => Ok(vec![Some(address)]),
        }
    }

    /// Returns `named` with this server alone, at this address.
    pub(crate) fn alone(&self, named: &Config, address: Option<IpAddr>) -> Config {
        let mut alone = Config::new();
        if let Some(user) = named.get_user() {
            alone.user(user);
        }
        if let Some(password) = named.get_password() {
            alone.password(password);
        }
        if let Some(database) = named.get_dbname() {
            alone.dbname(database);
        }
        if let Some(options) = named.get_options() {
            alone.options(options);
        }
        if let Some(application) = named.get_application_name() {
            alone.application_name(application);
        }
        if let Some(timeout) = named.get_connect_timeout() {
            alone.connect_timeout(*timeout);
        }
        if let Some(timeout) = named.get_tcp_user_timeout() {
            alone.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = named.get_keepalives_interval() {
            alone.keepalives_interval(interval);
        }
        if let Some(retries) = named.get_keepalives_retries() {
            alone.keepalives_retries(retries);
        }
        alone
            .ssl_mode(named.get_ssl_mode())
            .ssl_negotiation(named.get_ssl_negotiation())
            .channel_binding(named.get_channel_binding())
            .keepalives(named.get_keepalives())
            .keepalives_idle(named.get_keepalives_idle())
            .target_session_attrs(named.get_target_session_attrs())
            .port(self.port);
        match &self.host {
            Some(Host::Tcp(host)) => drop(alone.host(host)),
            Some(Host::Unix(path)) => drop(alone.host_path(path)),
            None => {}
        }
        if let Some(address) = address {
            alone.hostaddr(address);
        }
        alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(url: &str) -> Result<Vec<String>, String> {
        let servers = Server::all(&url.parse().unwrap())?;
        Ok(servers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_url_names_servers_in_order() {
        let all = named("postgres://ann@one:1,two,[::1]:3,10.0.0.1/names").unwrap();
        assert_eq!(all, ["one:1", "two:5432", "[::1]:3", "10.0.0.1:5432"]);
        assert_eq!(named("postgres://ann@one,two:7/names").unwrap(), ["one:5432", "two:7"]);
        let by_address = named("postgres:///names?hostaddr=10.0.0.1,::1&port=7").unwrap();
        assert_eq!(by_address, ["10.0.0.1:7", "[::1]:7"]);
        assert_eq!(named("postgres://%2Frun%2Fpg/names").unwrap(), ["/run/pg:5432"]);
    }

    #[test]
    fn what_names_no_server_or_not_clearly_which_is_refused() {
        for (url, reason) in [
            ("postgres:///names", "no host"),
            ("postgres://one,two/names?hostaddr=10.0.0.1", "2 hosts, and 1 addresses"),
            (
                "postgres:///names?hostaddr=10.0.0.1,10.0.0.2,10.0.0.3&port=1,2",
                "3 servers and 2 ports",
            ),
            ("postgres://a,b,c,d,e,f,g,h,i/names", "at most 8"),
        ] {
            let refused = named(url).unwrap_err();
            assert!(refused.contains(reason), "{url}: {refused}");
        }
    }

    #[test]
    fn a_server_alone_is_reached_as_the_url_says() {
        let url = "postgres://ann:s3cret@one:1,two:2/names?sslmode=require&application_name=x&options=-c%20a%3Db\
            &connect_timeout=3&keepalives_idle=4&keepalives_interval=5&keepalives_retries=6&tcp_user_timeout=7\
            &target_session_attrs=read-write&channel_binding=disable";
        let both: Config = url.parse().unwrap();
        let one: Config = url.replace("one:1,", "").parse().unwrap();
        let servers = Server::all(&both).unwrap();
        assert_eq!(servers[1].alone(&both, None), one);
        let address = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(servers[1].alone(&both, Some(address)), *one.clone().hostaddr(address));
    }
}
