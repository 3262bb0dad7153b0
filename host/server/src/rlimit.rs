//! Raises the limit of open files: every connection is one, so without enough of them `http.connections` means nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::source::ConfigError;

/// Files besides the public connections: listeners, admin connections, lanes, the database, components being read.
const OTHER_FILES: u64 = 256;

/// Ensures that this process may open this many connections, and raises its own limit if necessary.
pub fn ensure_open_files(connections: usize) -> Result<(), ConfigError> {
    let needed = (connections as u64).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    if enough(limit.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(needed);
    let problem = format!(
        "{connections} connections need {needed} open files, and this process may open {most}; lower http.connections, \
         or raise the limit with `ulimit -n`"
    );
    Err(ConfigError::new("http.connections", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_are_allowed_and_too_many_are_refused() {
        assert_eq!(ensure_open_files(1), Ok(()));
        let limit = getrlimit(Resource::Nofile);
        if limit.maximum.is_some() {
            let error = ensure_open_files(usize::MAX).unwrap_err().to_string();
            assert!(error.starts_with("http.connections: "), "{error}");
            assert_eq!(getrlimit(Resource::Nofile), limit, "the limit is unchanged");
        }
    }
}
