//! What the system must allow this process, so that `http.connections` and `http.calls` mean something: open files, of which every
//! connection is one, and memory mappings, of which every call has some.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::source::ConfigError;

/// Files besides the public connections: listeners, admin connections, lanes, the database, components being read.
const OTHER_FILES: u64 = 256;

/// The most memory mappings of a call: its stack and the guard before it, a quarter of a call that waits to give its memory
/// back, and what its memories are split into.
const MAPPINGS_OF_A_CALL: u64 = 8;

/// Those of the process without any call.
const OTHER_MAPPINGS: u64 = 1000;

/// How many mappings a process may have (`proc_sys_vm(5)`).
const MAX_MAP_COUNT: &str = "/proc/sys/vm/max_map_count";

/// Ensures that this process may have the memory mappings that so many calls need. Nobody is told of one that is refused but the
/// guest that needs it, and it looks like a fault of the guest.
pub fn ensure_mappings(calls: usize) -> Result<(), ConfigError> {
    let allowed = std::fs::read_to_string(MAX_MAP_COUNT).ok();
    match allowed.and_then(|text| text.trim().parse().ok()) {
        Some(allowed) => enough_mappings(calls, allowed),
        // Not every sandbox shows it, and a host that is refused one mapping does not end.
        None => Ok(()),
    }
}

fn enough_mappings(calls: usize, allowed: u64) -> Result<(), ConfigError> {
    let needed = (calls as u64)
        .saturating_mul(MAPPINGS_OF_A_CALL)
        .saturating_add(OTHER_MAPPINGS);
    if needed <= allowed {
        return Ok(());
    }
    let problem = format!(
        "{calls} calls need up to {needed} memory mappings, and this machine lets a process have {allowed}; lower http.calls, \
         or raise the limit with `sysctl vm.max_map_count={needed}`"
    );
    Err(ConfigError::new("http.calls", problem))
}

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
    fn few_calls_are_allowed_and_too_many_are_refused() {
        assert_eq!(ensure_mappings(1), Ok(()));
        // What Linux allows unless it is told otherwise.
        let allowed = 65_530;
        assert_eq!(enough_mappings(8000, allowed), Ok(()));
        let error = enough_mappings(8100, allowed).unwrap_err().to_string();
        assert_eq!(
            error,
            "http.calls: 8100 calls need up to 65800 memory mappings, and this machine lets a process have 65530; lower \
             http.calls, or raise the limit with `sysctl vm.max_map_count=65800`"
        );
        assert!(enough_mappings(usize::MAX, allowed).is_err());
    }

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
