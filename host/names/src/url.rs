//! Where the names database is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use namelock_types::error_chain;

use crate::error::OpenError;
use crate::postgres::address::Server;

/// The address of a names database.
#[derive(Clone, PartialEq, Eq)]
pub enum NamesUrl {
    /// A file on this machine: `sqlite:PATH`.
    Sqlite(PathBuf),
    /// A PostgreSQL server: `postgres://…` or `postgresql://…`. It may name several, of which one can be written.
    Postgres(String),
    /// Several of them, each with some of the tenants: `postgres://…,postgres://…`. The first says where each tenant is.
    Several(Vec<Self>),
}

/// How many databases there may be.
const SEVERAL_MAX: usize = 64;

/// Splits a list at each comma that begins another URL. Other commas are between the hosts of one server, or in a password.
fn split(url: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), url);
    let begins = |at: usize| {
        let after = url.get(at + 1..).unwrap_or_default();
        ["postgres://", "postgresql://", "sqlite:"]
            .iter()
            .any(|scheme| after.starts_with(scheme))
    };
    for (at, _) in url.match_indices(',').filter(|(at, _)| begins(*at)) {
        let (part, next) = rest.split_at(at - (url.len() - rest.len()));
        parts.push(part);
        rest = next.get(1..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}

impl FromStr for NamesUrl {
    type Err = OpenError;

    fn from_str(url: &str) -> Result<Self, OpenError> {
        let parts = split(url);
        if parts.len() > 1 {
            let several: Vec<Self> = parts.iter().map(|part| part.parse()).collect::<Result<_, _>>()?;
            let refused = |reason: &str| {
                Err(OpenError::Url {
                    url: Self::Several(several.clone()).to_string(),
                    reason: reason.to_owned(),
                })
            };
            if several.iter().any(|one| matches!(one, Self::Sqlite(_))) {
                return refused(
                    "only databases of PostgreSQL may be several: give one sqlite:PATH, or only postgres://host/database",
                );
            }
            if several.len() > SEVERAL_MAX {
                return refused("there are more than 64 databases; give fewer");
            }
            if several
                .iter()
                .enumerate()
                .any(|(index, one)| several.iter().take(index).any(|other| other == one))
            {
                return refused("one of them is given twice; give each once");
            }
            return Ok(Self::Several(several));
        }
        if let Some(path) = url.strip_prefix("sqlite:") {
            // SQLite reads file:… as a URI, whose options can turn off what makes a commit durable.
            if path.is_empty() || path.starts_with(":memory:") || path.starts_with("file:") {
                return Err(OpenError::Url {
                    url: url.to_owned(),
                    reason: "sqlite: must be followed by the path of a file, for example sqlite:namelock.db".to_owned(),
                });
            }
            return Ok(Self::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let parsed = Self::Postgres(url.to_owned());
            // Its options too, so that whoever checks a configuration hears of a wrong one.
            let server = url.parse().map_err(|error| error_chain(&error));
            return match server.and_then(|server| Server::all(&server)) {
                Ok(_) => Ok(parsed),
                Err(reason) => Err(OpenError::Url {
                    url: parsed.to_string(),
                    reason,
                }),
            };
        }
        Err(OpenError::Url {
            // After a misspelt scheme there may be a password.
            url: url.split(':').next().unwrap_or_default().to_owned(),
            reason: "it is neither sqlite:PATH nor postgres://host/database".to_owned(),
        })
    }
}

impl fmt::Display for NamesUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Several(several) => several.iter().enumerate().try_for_each(|(index, one)| {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}{one}")
            }),
            // The part before the last @ may hold a password, and so may the options after the ?. If an @ follows a ?,
            // it is unclear whether the ? begins the options or belongs to the password, so nothing is shown.
            Self::Postgres(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
                let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
                let (_, host) = address.rsplit_once('@').unwrap_or(("", address));
                write!(f, "{scheme}://{}", if options.contains('@') { "…" } else { host })
            }
        }
    }
}

impl fmt::Debug for NamesUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamesUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_urls_are_told_from_the_hosts_of_one() {
        let url = |text: &str| text.parse::<NamesUrl>();
        let hosts = "postgres://ann:a,b@h1:5432,h2:5432/db";
        assert_eq!(url(hosts).unwrap(), NamesUrl::Postgres(hosts.to_owned()));
        let several = url(&format!(
            "{hosts},postgresql://ann:s3cret@c/db?password=x,postgres://d/db"
        ))
        .unwrap();
        assert!(matches!(&several, NamesUrl::Several(urls) if urls.len() == 3));
        assert_eq!(
            several.to_string(),
            "postgres://h1:5432,h2:5432/db,postgresql://c/db,postgres://d/db"
        );
        for (wrong, reason) in [
            ("postgres://ann:s3cret@a/db,sqlite:names.db", "PostgreSQL"),
            ("sqlite:names.db,postgres://ann:s3cret@a/db", "PostgreSQL"),
            ("postgres://ann:s3cret@a/db,postgres://ann:s3cret@a/db", "twice"),
        ] {
            let error = url(wrong).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url = |text: &str| text.parse::<NamesUrl>();
        assert_eq!(url("sqlite:a/b.db").unwrap(), NamesUrl::Sqlite("a/b.db".into()));
        let postgres = url("postgres://ann:s3cr@t@db:5432/names?password=s3cret").unwrap();
        assert_eq!(postgres.to_string(), "postgres://db:5432/names");
        assert_eq!(format!("{postgres:?}"), "NamesUrl(postgres://db:5432/names)");
        let several = url("postgres://ann:s3cret@one:5432,[::1]:5433,two/names?sslmode=disable").unwrap();
        assert_eq!(several.to_string(), "postgres://one:5432,[::1]:5433,two/names");
        for hidden in [
            "postgres://ann:s3?cret@db/names",
            "postgres://db/names?options=a@b&password=s3cret",
        ] {
            assert_eq!(url(hidden).unwrap().to_string(), "postgres://…");
        }
        for wrong in [
            "postgres://ann:s3cret@db/names?sslmod=require",
            "postgres://ann:s3cret@db:port/names",
            "postgres://ann:s3cret@db,b,c,d,e,f,g,h,i/names",
        ] {
            let error = url(wrong).unwrap_err().to_string();
            assert!(error.contains("db") && !error.contains("s3cret"), "{error}");
        }
        for bad in [
            "",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:file:names?mode=memory",
            "mysql://ann:s3cret@db",
            "names.db",
        ] {
            let error = url(bad).unwrap_err().to_string();
            assert!(error.contains("sqlite:") && !error.contains("s3cret"), "{error}");
        }
    }
}
