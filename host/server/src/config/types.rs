//! The structs that the settings fill, with the defaults that are the server's own.
//!
//! The defaults of `LockConfig`, `NamesConfig`, `OciConfig`, `CallLimits` and `CompilerConfig` are those of their crates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use namelock_lock::{LockConfig, LockUrl};
use namelock_names::{NamesConfig, NamesUrl};
use namelock_oci::OciConfig;
use namelock_sandbox::{CompilerConfig, SandboxConfig};

use super::admin::AdminConfig;
use super::limits::Limits;
use super::record::RecordConfig;
use super::trace::TraceConfig;
use crate::tenants::TenantId;
use crate::tenants::versions::VersionsConfig;
use crate::tls::TlsFiles;

/// The configuration of `namelock serve`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from; `admin.tokens` are read again.
    pub file: Option<PathBuf>,
    /// The public listener.
    pub http: HttpConfig,
    /// The admin listener.
    pub admin: AdminConfig,
    /// Which lock service holds the locks.
    pub lock_url: LockUrl,
    /// The limits of the lock service.
    pub lock: LockConfig,
    /// The tenants that may use the empty namespace.
    pub shared_namespace: Vec<TenantId>,
    /// Which database holds the registrations.
    pub names_url: NamesUrl,
    /// The limits of the names database.
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
    /// Whether what changes in it is served without being told.
    pub tenants_watch: bool,
    /// How components are pulled from registries and kept.
    pub oci: OciConfig,
    /// How versions of components are kept.
    pub versions: VersionsConfig,
    /// What is kept of calls that failed.
    pub record: RecordConfig,
    /// Which requests are traced, and where their spans are sent.
    pub trace: TraceConfig,
    /// How many bytes of the log may queue while nobody reads it.
    pub log_queue: usize,
    /// How many tenants have metrics of their own.
    pub metrics_tenants: usize,
}

/// The public listener and the limits of what comes in through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address that it listens on.
    pub listen: SocketAddr,
    /// Its TLS.
    pub tls: TlsFiles,
    /// Whether it may listen beyond loopback although a tenant has no tokens.
    pub open: bool,
    /// Longest head of a request, in bytes.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Requests of one HTTP/2 connection at once.
    pub streams: u32,
    /// Requests of one HTTP/2 connection in a second that its client gives up.
    pub resets: u32,
    /// Longest body of a request, in bytes.
    pub body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long the first head of a connection may take to arrive.
    pub first_head_timeout: Duration,
    /// How long a request's head may take to arrive; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Connections open at once; one address has no more of them than are free.
    pub connections: usize,
    /// Idle connections of one address that are closed in a second to make room for its new ones.
    pub replaced: u32,
    /// Calls running at once, over all tenants.
    pub calls: usize,
    /// Calls that wait for one of them; one more is refused at once.
    pub calls_waiting: usize,
    /// How long each of them waits before it is refused.
    pub calls_wait: Duration,
    /// How long it serves after SIGTERM while it says that it is not ready.
    pub lame_duck: Duration,
    /// How long running requests may go on after that, or after SIGINT.
    pub drain: Duration,
}

impl Config {
    /// The configuration of the lock service, with what other settings say about it.
    pub fn lock_service(&self) -> LockConfig {
        LockConfig {
            shared_with_idiom: !self.shared_namespace.is_empty(),
            ..self.lock.clone()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            http: HttpConfig::default(),
            admin: AdminConfig::default(),
            lock_url: LockUrl::Memory,
            lock: LockConfig::default(),
            shared_namespace: Vec::new(),
            names_url: NamesUrl::Sqlite(PathBuf::from("namelock.db")),
            names: NamesConfig::default(),
            limits: Limits::default(),
            limits_max: Limits::default(),
            stack: SandboxConfig::default().stack,
            compiler: CompilerConfig::default(),
            tenants: PathBuf::from("tenants"),
            tenants_wait: Duration::from_secs(30),
            tenants_watch: true,
            oci: OciConfig::default(),
            versions: VersionsConfig {
                dir: PathBuf::from("namelock-versions"),
                keep: 3,
            },
            record: RecordConfig::default(),
            trace: TraceConfig::default(),
            log_queue: 4 << 20,
            metrics_tenants: 100,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: TlsFiles::default(),
            open: false,
            header_bytes: 16 << 10,
            headers: 64,
            streams: 128,
            resets: 500,
            body: 64 << 10,
            body_timeout: Duration::from_secs(10),
            first_head_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            connections: 4096,
            replaced: 500,
            calls: 256,
            calls_waiting: 1024,
            calls_wait: Duration::from_secs(1),
            lame_duck: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }
}
