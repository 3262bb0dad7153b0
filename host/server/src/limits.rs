//! Every limit that a tenant or a caller can reach: its key, what is answered then, and the test that reaches it.
//!
//! The table in the README is written from here, with the defaults that the code really has. A test compares the two, and
//! finds every key of the configuration and every test that is named; so a limit that nothing reaches does not pass.

use namelock_lock::LockConfig;
use namelock_names::NamesConfig;
use namelock_sandbox::{CompilerConfig, SandboxConfig};

use crate::config::{HttpConfig, Limits};
use crate::error::ErrorKind;
use crate::units::Value;

/// One limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its key in the configuration.
    pub key: &'static str,
    /// What it bounds.
    pub bounds: &'static str,
    /// What becomes of whoever reaches it.
    pub reached: Reached,
    /// The test that reaches it; one of a guest is named as the guest's module.
    pub test: &'static str,
}

/// What becomes of whoever reaches a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The request is answered with a code.
    Code(ErrorKind),
    /// The HTTP library answers with a status and closes the connection: nobody knows yet what the request is.
    Status(u16),
    /// The connection ends without an answer.
    Closed,
    /// The next one waits outside, unseen.
    Waits,
    /// What is too much is dropped, and the call goes on.
    Dropped,
    /// The lock ends by itself, when its time to live has passed.
    Expires,
}

impl Reached {
    fn text(self) -> String {
        match self {
            Self::Code(kind) => format!("`{}`", kind.label()),
            Self::Status(status) => format!("status {status}"),
            Self::Closed => "the connection ends".to_owned(),
            Self::Waits => "the next one waits".to_owned(),
            Self::Dropped => "the rest is dropped".to_owned(),
            Self::Expires => "the rest expires".to_owned(),
        }
    }
}

const fn limit(key: &'static str, bounds: &'static str, reached: Reached, test: &'static str) -> Limit {
    Limit {
        key,
        bounds,
        reached,
        test,
    }
}

const fn code(kind: ErrorKind) -> Reached {
    Reached::Code(kind)
}

/// Every limit: of a call, of a tenant, of the host.
pub const LIMITS: [Limit; 45] = [
    limit(
        "limits.memory",
        "all memories and tables of a call",
        code(ErrorKind::HandlerOutOfMemory),
        "guests::grow_memory",
    ),
    limit(
        "limits.cpu_time",
        "time that a call really runs",
        code(ErrorKind::HandlerDeadline),
        "guests::spin_holding_lease",
    ),
    limit(
        "limits.wall_time",
        "time from a call's beginning to its end",
        code(ErrorKind::HandlerDeadline),
        "guests::sleep_holding_lease",
    ),
    limit(
        "limits.stack",
        "stack of a guest; one for all tenants",
        code(ErrorKind::HandlerTrapped),
        "guests::recurse",
    ),
    limit(
        "limits.leases",
        "leases that a call holds",
        code(ErrorKind::TenantLimit),
        "guests::hoard_leases",
    ),
    limit(
        "limits.host_calls",
        "calls of the host by a call",
        code(ErrorKind::TenantLimit),
        "guests::host_call_flood",
    ),
    limit(
        "limits.host_bytes",
        "bytes handed to the host at once",
        code(ErrorKind::TenantLimit),
        "guests::big_string_out",
    ),
    limit(
        "limits.handles",
        "leases, streams, pollables of a call",
        code(ErrorKind::TenantLimit),
        "guests::handle_flood",
    ),
    limit(
        "limits.random_bytes",
        "random bytes asked for at once",
        code(ErrorKind::TenantLimit),
        "guests::random_flood",
    ),
    limit(
        "limits.attributes",
        "attributes of a registration",
        code(ErrorKind::NameInvalid),
        "guests::many_attributes",
    ),
    limit(
        "limits.attribute_bytes",
        "all of them together",
        code(ErrorKind::NameInvalid),
        "guests::big_attributes",
    ),
    limit(
        "limits.log_bytes",
        "output of a call",
        Reached::Dropped,
        "guests::log_flood",
    ),
    limit(
        "limits.component",
        "a tenant's component",
        code(ErrorKind::TenantUnavailable),
        "tenants::a_tenant_that_cannot_be_loaded_keeps_its_reason",
    ),
    limit(
        "compiler.memory",
        "address space of a compiler",
        code(ErrorKind::TenantUnavailable),
        "reload::a_compile_bomb_costs_its_tenant_alone",
    ),
    limit(
        "compiler.cpu_time",
        "its time of running",
        code(ErrorKind::TenantUnavailable),
        "reload::a_compile_bomb_costs_its_tenant_alone",
    ),
    limit(
        "compiler.wall_time",
        "time from its beginning to its end",
        code(ErrorKind::TenantUnavailable),
        "compiler::a_child_that_takes_too_long_is_ended",
    ),
    limit(
        "compiler.artifact",
        "what a component is compiled to",
        code(ErrorKind::TenantUnavailable),
        "compiler::however_a_child_ends_the_error_says_how",
    ),
    limit(
        "compiler.processes",
        "compilers at once",
        Reached::Waits,
        "compiler::one_child_waits_for_another",
    ),
    limit(
        "compiler.cache_files",
        "compiled components that are kept",
        Reached::Dropped,
        "cache::the_entry_that_was_not_used_for_longest_goes",
    ),
    limit(
        "limits.rate",
        "requests a second of a tenant",
        code(ErrorKind::TenantLimit),
        "admission::requests_that_come_too_fast_hear_when_the_next_may_come",
    ),
    limit(
        "limits.burst",
        "its requests at once after a silence",
        code(ErrorKind::TenantLimit),
        "admission::requests_that_come_too_fast_hear_when_the_next_may_come",
    ),
    limit(
        "limits.calls",
        "its calls that run",
        code(ErrorKind::TenantLimit),
        "admission::a_tenant_that_is_full_is_refused_and_others_are_served",
    ),
    limit(
        "limits.calls_waiting",
        "its calls that wait to run, or for their body",
        code(ErrorKind::TenantLimit),
        "admission::a_tenant_that_is_full_is_refused_and_others_are_served",
    ),
    limit(
        "limits.calls_wait",
        "how long each of them waits to run",
        code(ErrorKind::TenantLimit),
        "admission::a_tenant_that_is_full_is_refused_and_others_are_served",
    ),
    limit(
        "http.calls",
        "calls that run, of all tenants",
        code(ErrorKind::Overloaded),
        "admission::a_host_that_is_full_refuses",
    ),
    limit(
        "http.calls_waiting",
        "calls that wait for the host",
        code(ErrorKind::Overloaded),
        "admission::a_host_that_is_full_refuses",
    ),
    limit(
        "http.calls_wait",
        "how long each of them waits",
        code(ErrorKind::Overloaded),
        "admission::a_host_that_is_full_refuses",
    ),
    limit(
        "http.connections",
        "connections",
        Reached::Waits,
        "server::a_connection_beyond_the_limit_waits_for_a_slot",
    ),
    limit(
        "http.header_bytes",
        "head of a request",
        Reached::Status(431),
        "admission::a_head_that_is_too_long_is_refused",
    ),
    limit(
        "http.headers",
        "its header lines",
        Reached::Status(431),
        "admission::a_head_that_is_too_long_is_refused",
    ),
    limit(
        "http.header_timeout",
        "how long it may take to arrive, and a connection may idle",
        Reached::Closed,
        "admission::a_head_that_trickles_is_cut_off",
    ),
    limit(
        "http.body",
        "body of a request",
        code(ErrorKind::PayloadTooLarge),
        "admission::a_body_that_is_too_long_is_not_read",
    ),
    limit(
        "http.body_timeout",
        "how long it may take to arrive",
        code(ErrorKind::InvalidRequest),
        "admission::a_body_that_trickles_is_refused_in_time",
    ),
    limit(
        "http.write_timeout",
        "how long an answer may lie untaken",
        Reached::Closed,
        "server::a_peer_that_takes_no_answer_is_cut_off",
    ),
    limit(
        "http.drain",
        "how long what runs may go on after the signal to stop",
        Reached::Closed,
        "server::a_drain_has_an_end",
    ),
    limit(
        "lock.waiters",
        "callers that wait for a lock, of all tenants",
        code(ErrorKind::LockUnavailable),
        "turnstile::no_more_wait_than_may",
    ),
    limit(
        "lock.max_wait",
        "how long each of them waits, whatever its handler wishes",
        code(ErrorKind::NameBusy),
        "suite::nobody_waits_longer_than_may_be",
    ),
    limit(
        "lock.lease",
        "how long a lease is trusted that is not renewed",
        code(ErrorKind::LeaseLost),
        "guests::sleep_holding_lease",
    ),
    limit(
        "lock.max_hold",
        "how long a lease is renewed",
        code(ErrorKind::LeaseLost),
        "guests::renew_for_ever",
    ),
    limit(
        "lock.queue",
        "operations that queue for a connection to memcached",
        code(ErrorKind::LockUnavailable),
        "memcached::a_queue_that_is_full_refuses_at_once",
    ),
    limit(
        "lock.reaper_queue",
        "leases of ended calls that are still to be released",
        Reached::Expires,
        "reaper::what_finds_no_place_is_left_to_its_expiry",
    ),
    limit(
        "lock.memory_locks",
        "locks of `memory:`",
        code(ErrorKind::LockUnavailable),
        "memory::a_full_table_refuses_until_a_lock_is_over",
    ),
    limit(
        "names.queue",
        "writes that queue for SQLite, and reads",
        code(ErrorKind::NamesUnavailable),
        "sqlite::a_full_queue_refuses_at_once",
    ),
    limit(
        "names.busy_timeout",
        "how long a write waits for another process that has SQLite's file",
        code(ErrorKind::NamesUnavailable),
        "sqlite::a_locked_file_is_refused_in_time_and_used_again_when_it_is_free",
    ),
    limit(
        "names.timeout",
        "how long a read or write of PostgreSQL takes, with the wait for a connection",
        code(ErrorKind::NamesUnavailable),
        "postgres::a_row_that_somebody_holds_is_not_waited_for_longer_than_the_deadline",
    ),
];

/// The defaults of everything that has a limit, by their keys.
fn defaults() -> Vec<(&'static str, Value)> {
    let (compiler, lock, names) = (CompilerConfig::default(), LockConfig::default(), NamesConfig::default());
    let host = [
        ("compiler.memory", Value::Size(compiler.memory as u64)),
        ("compiler.cpu_time", Value::Time(compiler.cpu_time)),
        ("compiler.wall_time", Value::Time(compiler.wall_time)),
        ("compiler.artifact", Value::Size(compiler.artifact as u64)),
        ("compiler.processes", Value::Count(compiler.processes as u64)),
        ("compiler.cache_files", Value::Count(compiler.cache.files as u64)),
        ("limits.stack", Value::Size(SandboxConfig::default().stack as u64)),
        ("lock.waiters", Value::Count(lock.waiters as u64)),
        ("lock.max_wait", Value::Time(lock.max_wait)),
        ("lock.lease", Value::Time(lock.lease)),
        ("lock.max_hold", Value::Time(lock.max_hold)),
        ("lock.queue", Value::Count(lock.queue as u64)),
        ("lock.reaper_queue", Value::Count(lock.reaper_queue as u64)),
        ("lock.memory_locks", Value::Count(lock.memory_locks as u64)),
        ("names.queue", Value::Count(names.queue as u64)),
        ("names.busy_timeout", Value::Time(names.busy_timeout)),
        ("names.timeout", Value::Time(names.timeout)),
    ];
    let tenant = Limits::default().values().into_iter();
    tenant.chain(HttpConfig::default().values()).chain(host).collect()
}

/// The table of limits in Markdown.
pub fn table() -> String {
    let defaults = defaults();
    let mut text = "| limit | bounds | default | when it is reached | test |\n|---|---|---|---|---|\n".to_owned();
    for limit in LIMITS {
        let default = defaults.iter().find(|(key, _)| *key == limit.key);
        let default = default.map(|(_, value)| value.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "| `{}` | {} | `{default}` | {} | `{}` |\n",
            limit.key,
            limit.bounds,
            limit.reached.text(),
            limit.test
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    #[test]
    fn every_limit_of_the_configuration_is_in_the_table_once() {
        let mut keys: Vec<_> = LIMITS.iter().map(|limit| limit.key).collect();
        let mut expect: Vec<_> = defaults().into_iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        expect.sort_unstable();
        assert_eq!(keys, expect);
    }

    #[test]
    fn the_table_in_the_readme_is_the_one_of_the_code() {
        let path = Path::new(ROOT).join("README.md");
        let readme = fs::read_to_string(&path).unwrap();
        let (before, rest) = readme.split_once("<!-- limits -->\n").unwrap();
        let (found, after) = rest.split_once("<!-- /limits -->").unwrap();
        if std::env::var_os("UPDATE_README").is_some() {
            let text = format!("{before}<!-- limits -->\n{}<!-- /limits -->{after}", table());
            fs::write(&path, text).unwrap();
        } else {
            assert_eq!(found, table(), "run with UPDATE_README=1 to write it anew");
        }
    }

    /// The source files below a folder.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_limit_has_a_test_that_reaches_it() {
        let mut files = Vec::new();
        for folder in ["tests", "host"] {
            sources(&Path::new(ROOT).join(folder), &mut files);
        }
        // The module is the file's name, or that of its folder.
        let text_of = |module: &str| -> String {
            let of_module = |path: &&PathBuf| {
                path.iter().any(|part| {
                    part.to_str()
                        .is_some_and(|part| part.strip_suffix(".rs").unwrap_or(part).starts_with(module))
                })
            };
            files
                .iter()
                .filter(of_module)
                .map(|path| fs::read_to_string(path).unwrap())
                .collect()
        };
        let missing = LIMITS.iter().filter(|limit| {
            let (module, name) = limit.test.split_once("::").unwrap();
            let line = match module {
                "guests" => format!("mod {name} {{"),
                _ => format!("fn {name}("),
            };
            !text_of(module).contains(&line)
        });
        let missing: Vec<_> = missing.map(|limit| limit.test).collect();
        assert!(missing.is_empty(), "there are no tests {missing:?}");
    }
}
