//! Open files: every connection is one, so without enough of them a limit on connections is only a wish.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::source::ConfigError;

/// Files beside the public connections: listeners, admin connections, lanes, the database, what is being read.
const OTHERS: u64 = 256;

/// Makes sure that this process may have as many connections as are allowed, and raises its own limit if it must.
pub fn make_room(connections: usize) -> Result<(), ConfigError> {
    let needed = (connections as u64).saturating_add(OTHERS);
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
        "{connections} connections need {needed} open files, and this process may have {most}; lower http.connections, \
         or raise the limit with `ulimit -n`"
    );
    Err(ConfigError::new("http.connections", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_few_connections_and_none_for_too_many() {
        assert_eq!(make_room(1), Ok(()));
        let limit = getrlimit(Resource::Nofile);
        if limit.maximum.is_some() {
            let error = make_room(usize::MAX).unwrap_err().to_string();
            assert!(error.starts_with("http.connections: "), "{error}");
            assert_eq!(getrlimit(Resource::Nofile), limit, "nothing is changed");
        }
    }
}
