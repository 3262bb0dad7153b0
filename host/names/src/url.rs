//! Where the names database is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::OpenError;

/// The address of a names database.
#[derive(Clone, PartialEq, Eq)]
pub enum NamesUrl {
    /// A file of this machine: `sqlite:PATH`.
    Sqlite(PathBuf),
    /// A PostgreSQL server: `postgres://…` or `postgresql://…`.
    Postgres(String),
}

impl FromStr for NamesUrl {
    type Err = OpenError;

    fn from_str(url: &str) -> Result<Self, OpenError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            if path.is_empty() || path.starts_with(":memory:") {
                return Err(OpenError::Url {
                    url: url.to_owned(),
                    reason: "after sqlite: it needs the path of a file, for example sqlite:namelock.db".to_owned(),
                });
            }
            return Ok(Self::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        Err(OpenError::Url {
            // It may hold a password after a misspelt scheme.
            url: url.split(':').next().unwrap_or_default().to_owned(),
            reason: "it is neither sqlite:PATH nor postgres://host/database".to_owned(),
        })
    }
}

impl fmt::Display for NamesUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            // The part before the last @ may hold a password.
            Self::Postgres(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
                let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
                write!(f, "{scheme}://{}", host.split('?').next().unwrap_or_default())
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
    fn a_url_says_where_the_names_are_and_hides_a_password() {
        let url = |text: &str| text.parse::<NamesUrl>();
        assert_eq!(url("sqlite:a/b.db").unwrap(), NamesUrl::Sqlite("a/b.db".into()));
        let postgres = url("postgres://ann:s3cr@t@db:5432/names?password=s3cret").unwrap();
        assert_eq!(postgres.to_string(), "postgres://db:5432/names");
        assert_eq!(format!("{postgres:?}"), "NamesUrl(postgres://db:5432/names)");
        for bad in ["", "sqlite:", "sqlite::memory:", "mysql://ann:s3cret@db", "names.db"] {
            let error = url(bad).unwrap_err().to_string();
            assert!(error.contains("sqlite:") && !error.contains("s3cret"), "{error}");
        }
    }
}
