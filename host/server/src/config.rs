//! Flags, environment and file become one checked [`Config`].
//!
//! A flag wins over the environment, which wins over the file, which wins over the defaults.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use namelock_lock::{LockConfig, LockUrl};
use namelock_names::{NamesConfig, NamesUrl};
use namelock_sandbox::{CacheConfig, CallLimits, CompilerConfig, SandboxConfig};
use serde::Deserialize;
use toml::Spanned;

use crate::admission::AdmissionLimits;
use crate::cli::ServeFlags;
use crate::source::{ConfigError, FromSetting, Setting, Source, choose, parse_or};
use crate::units::{Count, Size, Time, Value};

/// Longest configuration file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Everything that `namelock serve` can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener.
    pub http: HttpConfig,
    /// Where the admin listener listens.
    pub admin: SocketAddr,
    /// Which lock service holds the locks.
    pub lock_url: LockUrl,
    /// How it is spoken to.
    pub lock: LockConfig,
    /// Which database holds the registrations.
    pub names_url: NamesUrl,
    /// How it is spoken to.
    pub names: NamesConfig,
    /// What a tenant may use unless its `tenant.toml` says otherwise.
    pub limits: Limits,
    /// What no `tenant.toml` may go beyond.
    pub limits_max: Limits,
    /// The stack of every guest, in bytes; the engine has one size for all of them.
    pub stack: usize,
    /// How components are compiled, and what that may use.
    pub compiler: CompilerConfig,
    /// The directory of tenants.
    pub tenants: PathBuf,
    /// How long the start waits for tenants whose components take long; they are served once they are ready.
    pub tenants_wait: Duration,
}

/// The public listener and the limits of what comes in through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback while a tenant has no tokens.
    pub open: bool,
    /// Longest head of a request, in bytes.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Longest body of a request, in bytes.
    pub body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request's head may take to arrive; also how long a connection may lie idle.
    pub header_timeout: Duration,
    /// How long a client may leave an answer untaken.
    pub write_timeout: Duration,
    /// Connections open at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// Calls running at once, over all tenants.
    pub calls: usize,
    /// Calls that wait for one of them; one more is refused at once.
    pub calls_waiting: usize,
    /// How long each of them waits before it is refused.
    pub calls_wait: Duration,
    /// How long what runs may go on after the signal to stop.
    pub drain: Duration,
}

/// What a tenant may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest component, in bytes.
    pub component: usize,
    /// How many calls it may have, and how fast they may come.
    pub admission: AdmissionLimits,
    /// What one call may use.
    pub call: CallLimits,
}

/// Every limit of a tenant, in the order of the section `limits`.
pub type LimitValues = [(&'static str, Value); 17];

/// The file as it is written; what is left out keeps its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    http: HttpSection,
    admin: AdminSection,
    lock: LockSection,
    names: NamesSection,
    limits: HostLimitsSection,
    compiler: CompilerSection,
    tenants: TenantsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    listen: Option<Spanned<String>>,
    open: Option<bool>,
    header_bytes: Option<Size<{ 8 << 10 }, { 1 << 20 }>>,
    headers: Option<Count<16, 1000>>,
    body: Option<Size<1024, { 16 << 20 }>>,
    body_timeout: Option<Time<1, 600_000>>,
    header_timeout: Option<Time<1, 600_000>>,
    write_timeout: Option<Time<1, 600_000>>,
    connections: Option<Count<1, 1_000_000>>,
    calls: Option<Count<1, 100_000>>,
    calls_waiting: Option<Count<0, 1_000_000>>,
    calls_wait: Option<Time<0, 60_000>>,
    drain: Option<Time<0, 600_000>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminSection {
    listen: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LockSection {
    url: Option<Spanned<String>>,
    lease: Option<Time<100, 86_400_000>>,
    max_hold: Option<Time<100, 86_400_000>>,
    restart_grace: Option<Time<0, 86_400_000>>,
    watch_every: Option<Time<100, 3_600_000>>,
    waiters: Option<Count<1, 10_000_000>>,
    lanes: Option<Count<1, 64>>,
    queue: Option<Count<1, 1_000_000>>,
    batch: Option<Count<1, 4096>>,
    connect_timeout: Option<Time<1, 60_000>>,
    exchange_timeout: Option<Time<1, 60_000>>,
    backoff_min: Option<Time<1, 60_000>>,
    backoff_max: Option<Time<1, 60_000>>,
    reaper_queue: Option<Count<1, 10_000_000>>,
    max_wait: Option<Time<0, 600_000>>,
    memory_locks: Option<Count<1, 1_000_000_000>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NamesSection {
    url: Option<Spanned<String>>,
    queue: Option<Count<1, 1_000_000>>,
    batch: Option<Count<1, 4096>>,
    readers: Option<Count<1, 64>>,
    busy_timeout: Option<Time<1, 60_000>>,
    connections: Option<Count<1, 1000>>,
    connect_timeout: Option<Time<1, 60_000>>,
    timeout: Option<Time<1, 60_000>>,
    tls_roots: Option<PathBuf>,
    retention: Option<Time<60_000, 604_800_000>>,
}

/// Declares a section of limits: those that a tenant can have, and what else stands in it.
///
/// A field of its own type for the common part would need `flatten`, and then serde no longer refuses unknown keys.
macro_rules! limits_section {
    ($(#[$doc:meta])* $visibility:vis struct $section:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        $visibility struct $section {
            component: Option<Size<1, { 1 << 30 }>>,
            calls: Option<Count<1, 100_000>>,
            calls_waiting: Option<Count<0, 1_000_000>>,
            calls_wait: Option<Time<0, 60_000>>,
            rate: Option<Count<1, 1_000_000>>,
            burst: Option<Count<1, 1_000_000>>,
            memory: Option<Size<{ 64 << 10 }, { 4 << 30 }>>,
            cpu_time: Option<Time<1, 600_000>>,
            wall_time: Option<Time<1, 600_000>>,
            leases: Option<Count<1, 1000>>,
            host_calls: Option<Count<1, 4_000_000_000>>,
            host_bytes: Option<Size<1024, { 1 << 30 }>>,
            handles: Option<Count<8, 1_000_000>>,
            random_bytes: Option<Size<16, { 1 << 30 }>>,
            attributes: Option<Count<0, 1024>>,
            attribute_bytes: Option<Size<0, { 64 << 10 }>>,
            log_bytes: Option<Size<0, { 16 << 20 }>>,
            $($field: $kind,)*
        }

        impl $section {
            /// What these limits are where those that are not given are `defaults`.
            pub fn over(&self, defaults: &Limits) -> Limits {
                let (admission, call) = (&defaults.admission, &defaults.call);
                let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                Limits {
                    component: self.component.map_or(defaults.component, Size::get),
                    admission: AdmissionLimits {
                        calls: self.calls.map_or(admission.calls, Count::get),
                        calls_waiting: self.calls_waiting.map_or(admission.calls_waiting, Count::get),
                        calls_wait: self.calls_wait.map_or(admission.calls_wait, Time::get),
                        rate: self.rate.map_or(admission.rate, |count| narrow(count.get())),
                        burst: self.burst.map_or(admission.burst, |count| narrow(count.get())),
                    },
                    call: CallLimits {
                        memory: self.memory.map_or(call.memory, Size::get),
                        cpu_time: self.cpu_time.map_or(call.cpu_time, Time::get),
                        wall_time: self.wall_time.map_or(call.wall_time, Time::get),
                        leases: self.leases.map_or(call.leases, Count::get),
                        host_calls: self.host_calls.map_or(call.host_calls, |count| narrow(count.get())),
                        host_bytes: self.host_bytes.map_or(call.host_bytes, Size::get),
                        handles: self.handles.map_or(call.handles, Count::get),
                        random_bytes: self.random_bytes.map_or(call.random_bytes, |size| size.get() as u64),
                        attributes: self.attributes.map_or(call.attributes, Count::get),
                        attribute_bytes: self.attribute_bytes.map_or(call.attribute_bytes, Size::get),
                        log_bytes: self.log_bytes.map_or(call.log_bytes, Size::get),
                    },
                }
            }
        }
    };
}

limits_section! {
    /// The section `limits` of a `tenant.toml`, and `limits.max` of the host's file.
    pub struct LimitsSection {}
}

limits_section! {
    /// The section `limits` of the host's file.
    pub struct HostLimitsSection {
        stack: Option<Size<{ 64 << 10 }, { 8 << 20 }>>,
        max: LimitsSection,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CompilerSection {
    memory: Option<Size<{ 64 << 20 }, { 64 << 30 }>>,
    cpu_time: Option<Time<1000, 3_600_000>>,
    wall_time: Option<Time<1000, 3_600_000>>,
    artifact: Option<Size<{ 1 << 20 }, { 4 << 30 }>>,
    processes: Option<Count<1, 64>>,
    cache: Option<Spanned<PathBuf>>,
    cache_files: Option<Count<1, 100_000>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TenantsSection {
    dir: Option<Spanned<PathBuf>>,
    wait: Option<Time<0, 3_600_000>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            open: false,
            header_bytes: 16 << 10,
            headers: 64,
            body: 64 << 10,
            body_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            connections: 4096,
            calls: 256,
            calls_waiting: 1024,
            calls_wait: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component: 32 << 20,
            admission: AdmissionLimits::default(),
            call: CallLimits::default(),
        }
    }
}

impl Limits {
    /// Every limit with its key; one that is new does not compile before it stands here.
    pub fn values(&self) -> LimitValues {
        let Self {
            component,
            admission:
                AdmissionLimits {
                    calls,
                    calls_waiting,
                    calls_wait,
                    rate,
                    burst,
                },
            call:
                CallLimits {
                    memory,
                    cpu_time,
                    wall_time,
                    leases,
                    host_calls,
                    host_bytes,
                    handles,
                    random_bytes,
                    attributes,
                    attribute_bytes,
                    log_bytes,
                },
        } = self;
        [
            ("limits.component", size(*component)),
            ("limits.calls", count(*calls)),
            ("limits.calls_waiting", count(*calls_waiting)),
            ("limits.calls_wait", Value::Time(*calls_wait)),
            ("limits.rate", Value::Count(u64::from(*rate))),
            ("limits.burst", Value::Count(u64::from(*burst))),
            ("limits.memory", size(*memory)),
            ("limits.cpu_time", Value::Time(*cpu_time)),
            ("limits.wall_time", Value::Time(*wall_time)),
            ("limits.leases", count(*leases)),
            ("limits.host_calls", Value::Count(u64::from(*host_calls))),
            ("limits.host_bytes", size(*host_bytes)),
            ("limits.handles", count(*handles)),
            ("limits.random_bytes", Value::Size(*random_bytes)),
            ("limits.attributes", count(*attributes)),
            ("limits.attribute_bytes", size(*attribute_bytes)),
            ("limits.log_bytes", size(*log_bytes)),
        ]
    }

    /// Refuses limits that go beyond `max`; `place` says where a key stands.
    pub fn within(&self, max: &Self, place: impl Fn(&str) -> String) -> Result<(), ConfigError> {
        let pairs = self.values().into_iter().zip(max.values());
        for ((key, value), (_, max)) in pairs {
            if value > max {
                let name = key.strip_prefix("limits.").unwrap_or(key);
                let problem =
                    format!("{value} is above limits.max.{name} of this host, {max}; lower the one or raise the other");
                return Err(ConfigError::new(place(key), problem));
            }
        }
        Ok(())
    }
}

impl HttpConfig {
    /// Every limit of the public listener with its key; one that is new does not compile before it stands here.
    pub fn values(&self) -> [(&'static str, Value); 11] {
        let Self {
            listen: _,
            open: _,
            header_bytes,
            headers,
            body,
            body_timeout,
            header_timeout,
            write_timeout,
            connections,
            calls,
            calls_waiting,
            calls_wait,
            drain,
        } = self;
        [
            ("http.connections", count(*connections)),
            ("http.header_bytes", size(*header_bytes)),
            ("http.headers", count(*headers)),
            ("http.header_timeout", Value::Time(*header_timeout)),
            ("http.body", size(*body)),
            ("http.body_timeout", Value::Time(*body_timeout)),
            ("http.write_timeout", Value::Time(*write_timeout)),
            ("http.calls", count(*calls)),
            ("http.calls_waiting", count(*calls_waiting)),
            ("http.calls_wait", Value::Time(*calls_wait)),
            ("http.drain", Value::Time(*drain)),
        ]
    }
}

fn size(bytes: usize) -> Value {
    Value::Size(bytes as u64)
}

fn count(count: usize) -> Value {
    Value::Count(count as u64)
}

impl Config {
    /// Reads the configuration; `env` looks up a variable.
    pub fn load(flags: &ServeFlags, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let path = choose("--config", &flags.config, "NAMELOCK_CONFIG", env, None);
        let source = match &path {
            Some(path) => Source::read(Path::new(&path.value), FILE_MAX)?,
            None => Source::default(),
        };
        let file: ConfigFile = source.parse()?;
        let from_file = |key: &'static str, value: &Option<Spanned<String>>| {
            let value = value.as_ref()?;
            Some(Setting {
                place: source.place(Some(value.span().start), key),
                value: value.get_ref().into(),
            })
        };

        let listen = from_file("http.listen", &file.http.listen);
        let listen = choose("--listen", &flags.listen, "NAMELOCK_LISTEN", env, listen);
        let admin = from_file("admin.listen", &file.admin.listen);
        let admin = choose("--admin", &flags.admin, "NAMELOCK_ADMIN", env, admin);
        let lock_url = from_file("lock.url", &file.lock.url);
        let lock_url = choose("--lock", &flags.lock, "NAMELOCK_LOCK", env, lock_url);
        let names_url = from_file("names.url", &file.names.url);
        let names_url = choose("--names", &flags.names, "NAMELOCK_NAMES", env, names_url);
        let dir_from_file = |key: &'static str, dir: &Option<Spanned<PathBuf>>| {
            let dir = dir.as_ref()?;
            Some(Setting {
                place: source.place(Some(dir.span().start), key),
                value: dir.get_ref().clone().into_os_string(),
            })
        };
        let tenants = dir_from_file("tenants.dir", &file.tenants.dir);
        let tenants = choose("--tenants", &flags.tenants, "NAMELOCK_TENANTS", env, tenants);
        let cache = dir_from_file("compiler.cache", &file.compiler.cache);
        let cache = choose("--cache", &flags.cache, "NAMELOCK_CACHE", env, cache);

        let open = flags.open.then(|| "true".into());
        let open = choose("--open", &open, "NAMELOCK_OPEN", env, None);

        let http = HttpConfig::default();
        let limits = file.limits.over(&Limits::default());
        // What is left out may not be raised by a tenant, so that the operator decides on every limit that may.
        let limits_max = file.limits.max.over(&limits);
        limits.within(&limits_max, |key| source.place(None, key))?;
        Ok(Self {
            http: file.http.over(
                parse_or(listen, http.listen)?,
                parse_or(open, file.http.open.unwrap_or(http.open))?,
            ),
            admin: parse_or(admin, SocketAddr::from(([127, 0, 0, 1], 8081)))?,
            lock_url: parse_or(lock_url, LockUrl::Memory)?,
            lock: file.lock.config(&source)?,
            names_url: parse_or(names_url, NamesUrl::Sqlite(PathBuf::from("namelock.db")))?,
            names: file.names.config(),
            limits,
            limits_max,
            stack: file.limits.stack.map_or(SandboxConfig::default().stack, Size::get),
            compiler: file.compiler.config(cache),
            tenants: tenants.map_or_else(|| PathBuf::from("tenants"), |dir| PathBuf::from(dir.value)),
            tenants_wait: file.tenants.wait.map_or(Duration::from_secs(30), Time::get),
        })
    }
}

impl HttpSection {
    fn over(&self, listen: SocketAddr, open: bool) -> HttpConfig {
        let defaults = HttpConfig::default();
        HttpConfig {
            listen,
            open,
            header_bytes: self.header_bytes.map_or(defaults.header_bytes, Size::get),
            headers: self.headers.map_or(defaults.headers, Count::get),
            body: self.body.map_or(defaults.body, Size::get),
            body_timeout: self.body_timeout.map_or(defaults.body_timeout, Time::get),
            header_timeout: self.header_timeout.map_or(defaults.header_timeout, Time::get),
            write_timeout: self.write_timeout.map_or(defaults.write_timeout, Time::get),
            connections: self.connections.map_or(defaults.connections, Count::get),
            calls: self.calls.map_or(defaults.calls, Count::get),
            calls_waiting: self.calls_waiting.map_or(defaults.calls_waiting, Count::get),
            calls_wait: self.calls_wait.map_or(defaults.calls_wait, Time::get),
            drain: self.drain.map_or(defaults.drain, Time::get),
        }
    }
}

impl LockSection {
    fn config(&self, source: &Source) -> Result<LockConfig, ConfigError> {
        let defaults = LockConfig::default();
        let config = LockConfig {
            lease: self.lease.map_or(defaults.lease, Time::get),
            max_hold: self.max_hold.map_or(defaults.max_hold, Time::get),
            restart_grace: self.restart_grace.map(Time::get),
            watch_every: self.watch_every.map_or(defaults.watch_every, Time::get),
            waiters: self.waiters.map_or(defaults.waiters, Count::get),
            lanes: self.lanes.map_or(defaults.lanes, Count::get),
            queue: self.queue.map_or(defaults.queue, Count::get),
            batch: self.batch.map_or(defaults.batch, Count::get),
            connect_timeout: self.connect_timeout.map_or(defaults.connect_timeout, Time::get),
            exchange_timeout: self.exchange_timeout.map_or(defaults.exchange_timeout, Time::get),
            backoff_min: self.backoff_min.map_or(defaults.backoff_min, Time::get),
            backoff_max: self.backoff_max.map_or(defaults.backoff_max, Time::get),
            reaper_queue: self.reaper_queue.map_or(defaults.reaper_queue, Count::get),
            max_wait: self.max_wait.map_or(defaults.max_wait, Time::get),
            memory_locks: self.memory_locks.map_or(defaults.memory_locks, Count::get),
        };
        if config.max_hold < config.lease {
            let (max_hold, lease) = (config.max_hold, config.lease);
            let problem =
                format!("{max_hold:?} is shorter than lock.lease, {lease:?}; make it longer or the other shorter");
            return Err(ConfigError::new(source.place(None, "lock.max_hold"), problem));
        }
        if config.backoff_min > config.backoff_max {
            let (min, max) = (config.backoff_min, config.backoff_max);
            let problem =
                format!("{min:?} is longer than lock.backoff_max, {max:?}; make it shorter or the other longer");
            return Err(ConfigError::new(source.place(None, "lock.backoff_min"), problem));
        }
        Ok(config)
    }
}

impl CompilerSection {
    fn config(&self, cache: Option<Setting>) -> CompilerConfig {
        let defaults = CompilerConfig::default();
        CompilerConfig {
            program: defaults.program,
            memory: self.memory.map_or(defaults.memory, Size::get),
            cpu_time: self.cpu_time.map_or(defaults.cpu_time, Time::get),
            wall_time: self.wall_time.map_or(defaults.wall_time, Time::get),
            artifact: self.artifact.map_or(defaults.artifact, Size::get),
            processes: self.processes.map_or(defaults.processes, Count::get),
            cache: CacheConfig {
                dir: cache.map_or(defaults.cache.dir, |dir| PathBuf::from(dir.value)),
                files: self.cache_files.map_or(defaults.cache.files, Count::get),
            },
        }
    }
}

impl NamesSection {
    fn config(&self) -> NamesConfig {
        let defaults = NamesConfig::default();
        NamesConfig {
            queue: self.queue.map_or(defaults.queue, Count::get),
            batch: self.batch.map_or(defaults.batch, Count::get),
            readers: self.readers.map_or(defaults.readers, Count::get),
            busy_timeout: self.busy_timeout.map_or(defaults.busy_timeout, Time::get),
            connections: self.connections.map_or(defaults.connections, Count::get),
            connect_timeout: self.connect_timeout.map_or(defaults.connect_timeout, Time::get),
            timeout: self.timeout.map_or(defaults.timeout, Time::get),
            tls_roots: self.tls_roots.clone(),
            retention: self.retention.map_or(defaults.retention, Time::get),
            attributes_max: defaults.attributes_max,
            attribute_bytes_max: defaults.attribute_bytes_max,
        }
    }
}

impl FromSetting for SocketAddr {
    fn from_setting(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not an address; write an IP address with a port, as in 127.0.0.1:8080"))
    }
}

impl FromSetting for bool {
    fn from_setting(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is neither; write true or false"))
    }
}

impl FromSetting for LockUrl {
    fn from_setting(text: &str) -> Result<Self, String> {
        Self::from_str(text).map_err(|error| error.to_string())
    }
}

impl FromSetting for NamesUrl {
    fn from_setting(text: &str) -> Result<Self, String> {
        let mend = "write sqlite:PATH or postgres://user@host/database";
        Self::from_str(text).map_err(|error| format!("{error}; {mend}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(file: &str) -> Result<Config, String> {
        let mut at = tempfile::NamedTempFile::new().unwrap();
        at.write_all(file.as_bytes()).unwrap();
        let path = at.path().to_path_buf();
        let flags = ServeFlags {
            config: Some(path.clone().into()),
            ..ServeFlags::default()
        };
        let result = Config::load(&flags, &|_| None);
        result.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let config = Config::load(&ServeFlags::default(), &|_| None).unwrap();
        assert_eq!(config.http, HttpConfig::default());
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.admin.to_string(), "127.0.0.1:8081");
        assert_eq!(config.lock_url.to_string(), "memory:");
        assert_eq!(config.names_url.to_string(), "sqlite:namelock.db");
        assert_eq!(config.tenants, Path::new("tenants"));
        assert_eq!(config.limits.component, 32 << 20);
    }

    #[test]
    fn a_file_can_set_everything() {
        let config = load(
            r#"
            [http]
            listen = "0.0.0.0:80"
            body = "32KiB"
            body_timeout = "2s"
            header_timeout = "3s"
            connections = 10
            calls = 5
            calls_waiting = 6
            calls_wait = "100ms"
            open = true
            header_bytes = "8KiB"
            headers = 32
            write_timeout = "4s"
            drain = "1m"
            [admin]
            listen = "[::1]:81"
            [lock]
            url = "memcached://a:1"
            lease = "20s"
            max_hold = "30s"
            restart_grace = "15s"
            watch_every = "14s"
            lanes = 3
            queue = 100
            batch = 10
            connect_timeout = "2s"
            exchange_timeout = "3s"
            backoff_min = "1ms"
            backoff_max = "4s"
            reaper_queue = 7
            max_wait = "5s"
            waiters = 9
            memory_locks = 99
            [names]
            url = "sqlite:/var/lib/names.db"
            queue = 10
            batch = 11
            readers = 4
            busy_timeout = "7s"
            connections = 5
            connect_timeout = "6s"
            timeout = "8s"
            tls_roots = "/etc/ca.pem"
            retention = "2h"
            [limits]
            component = "1MiB"
            memory = "16MiB"
            cpu_time = "10ms"
            wall_time = "2s"
            leases = 2
            host_calls = 50
            host_bytes = "4KiB"
            handles = 20
            random_bytes = "1KiB"
            attributes = 5
            attribute_bytes = "1KiB"
            log_bytes = "1KiB"
            stack = "128KiB"
            calls = 3
            calls_waiting = 4
            calls_wait = "5ms"
            rate = 6
            burst = 7
            [limits.max]
            memory = "32MiB"
            [compiler]
            memory = "1GiB"
            cpu_time = "20s"
            wall_time = "40s"
            artifact = "64MiB"
            processes = 2
            cache = "/var/cache/namelock"
            cache_files = 12
            [tenants]
            dir = "/srv/tenants"
            wait = "9s"
            "#,
        )
        .unwrap();
        assert_eq!(config.http.drain, Duration::from_secs(60));
        assert_eq!(config.http.listen.port(), 80);
        assert_eq!(config.admin.port(), 81);
        assert_eq!(config.lock_url.to_string(), "memcached://a:1");
        assert_eq!(config.lock.max_wait, Duration::from_secs(5));
        assert_eq!(config.lock.restart_grace, Some(Duration::from_secs(15)));
        assert_eq!(config.limits.call.attribute_bytes, 1024);
        assert_eq!(config.limits.call.memory, 16 << 20);
        assert_eq!(config.limits.admission.burst, 7);
        assert_eq!(config.limits_max.call.memory, 32 << 20);
        assert_eq!(config.limits_max.call.leases, 2, "what is left out is not raised");
        assert_eq!(
            (config.stack, config.http.calls_waiting, config.http.open),
            (128 << 10, 6, true)
        );
        assert_eq!(config.tenants, Path::new("/srv/tenants"));
        assert_eq!(config.tenants_wait, Duration::from_secs(9));
        let compiler = CompilerConfig {
            program: "/proc/self/exe".into(),
            memory: 1 << 30,
            cpu_time: Duration::from_secs(20),
            wall_time: Duration::from_secs(40),
            artifact: 64 << 20,
            processes: 2,
            cache: CacheConfig {
                dir: "/var/cache/namelock".into(),
                files: 12,
            },
        };
        assert_eq!(config.compiler, compiler);
    }

    #[test]
    fn an_error_says_what_and_where_and_how_to_mend_it() {
        let check = |file: &str, expect: &str| assert_eq!(load(file).unwrap_err(), expect, "{file}");
        check(
            "[http]\ndrain = 10",
            "FILE, line 2, http.drain: invalid type: integer `10`, expected a time with its unit, \
             as in \"10s\" or \"500ms\"",
        );
        check(
            "[http]\n\ndrain = \"10\"",
            r#"FILE, line 3, http.drain: `10` is not a time with its unit, as in "10s" or "500ms""#,
        );
        check(
            "[http]\nbody = \"64KB\"",
            r#"FILE, line 2, http.body: `64KB` is not a size with its unit, as in "64KiB" or "64MiB""#,
        );
        check(
            "http.calls = 0",
            "FILE, line 1, http.calls: 0 is out of range: at least 1, at most 100000",
        );
        check(
            "http.calls = -1",
            "FILE, line 1, http.calls: -1 is out of range: at least 1, at most 100000",
        );
        check(
            "http.calls = \"9\"",
            "FILE, line 1, http.calls: invalid type: string \"9\", expected a whole number, \
             at least 1 and at most 100000",
        );
        check(
            "[limits]\nwall_time = \"1h\"",
            "FILE, line 2, limits.wall_time: 1h is out of range: at least 1ms, at most 10m",
        );
        check(
            "[admin]\nlisten = \"here\"",
            "FILE, line 2, admin.listen: `here` is not an address; write an IP address with a port, \
             as in 127.0.0.1:8080",
        );
        check(
            "[admin]\ncolour = 1",
            "FILE, line 2, admin.colour: unknown field `colour`, expected `listen`",
        );
        check(
            "[https]\n",
            "FILE, line 1, https: unknown field `https`, expected one of \
             `http`, `admin`, `lock`, `names`, `limits`, `compiler`, `tenants`",
        );
        check(
            "[lock]\nbackoff_min = \"2s\"",
            "FILE, lock.backoff_min: 2s is longer than lock.backoff_max, 500ms; make it shorter or the other longer",
        );
        check(
            "[lock]\nmax_hold = \"5s\"",
            "FILE, lock.max_hold: 5s is shorter than lock.lease, 10s; make it longer or the other shorter",
        );
        check(
            "[limits.max]\nmemory = \"32MiB\"",
            "FILE, limits.memory: \"64MiB\" is above limits.max.memory of this host, \"32MiB\"; \
             lower the one or raise the other",
        );
        check(
            "[limits]\nrate = 0",
            "FILE, line 2, limits.rate: 0 is out of range: at least 1, at most 1000000",
        );
        let starts = |file: &str, expect: &str| assert!(load(file).unwrap_err().starts_with(expect), "{file}");
        starts("http = [", "FILE, line 1: this is not TOML: ");
        starts("[lock]\nurl = \"redis:\"", "FILE, line 2, lock.url: ");
        starts("[names]\nurl = \"mysql:\"", "FILE, line 2, names.url: ");
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let flags = ServeFlags {
            config: Some("/no/such.toml".into()),
            ..ServeFlags::default()
        };
        let error = Config::load(&flags, &|_| None).unwrap_err().to_string();
        assert!(error.starts_with("/no/such.toml: cannot read this file: "), "{error}");
    }

    #[test]
    fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"http.listen = \"127.0.0.1:1\"\nadmin.listen = \"127.0.0.1:1\"\ntenants.dir = \"file\"")
            .unwrap();
        let flags = ServeFlags {
            listen: Some("127.0.0.1:3".into()),
            ..ServeFlags::default()
        };
        let env = |variable: &str| match variable {
            "NAMELOCK_CONFIG" => Some(file.path().into()),
            "NAMELOCK_LISTEN" | "NAMELOCK_ADMIN" => Some("127.0.0.1:2".into()),
            "NAMELOCK_LOCK" => Some("memcached://env:11211".into()),
            _ => None,
        };
        let config = Config::load(&flags, &env).unwrap();
        assert_eq!(config.http.listen.port(), 3, "flag");
        assert_eq!(config.admin.port(), 2, "environment");
        assert_eq!(config.lock_url.to_string(), "memcached://env:11211");
        assert_eq!(config.tenants, Path::new("file"));
    }

    #[test]
    fn an_error_names_the_variable_or_the_flag() {
        let check = |flags: &ServeFlags, env: Option<&str>, expect: &str| {
            let env = |variable: &str| {
                (variable == "NAMELOCK_ADMIN")
                    .then_some(env)
                    .flatten()
                    .map(OsString::from)
            };
            let error = Config::load(flags, &env).unwrap_err().to_string();
            assert!(error.starts_with(expect), "{error}");
            assert_eq!(error.lines().count(), 1);
        };
        let flags = ServeFlags {
            admin: Some("1\n2".into()),
            ..ServeFlags::default()
        };
        check(&flags, Some("x"), "--admin: `1 2` is not an address; ");
        check(
            &ServeFlags::default(),
            Some(""),
            "NAMELOCK_ADMIN: `` is not an address; ",
        );
    }
}
