//! The flags of `namelock serve`.

use std::ffi::OsString;

use clap::Args;

/// The flags of `namelock serve`, not yet checked.
///
/// The variable and the default of each are part of its text. A test compares them with the declaration of the setting.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// TOML file with the sections http, admin, lock, names, limits, compiler and tenants [env: NAMELOCK_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<OsString>,
    /// The address to listen on for requests [env: NAMELOCK_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<OsString>,
    /// The address to listen on for /healthz, /readyz, /tenants and /metrics [env: NAMELOCK_ADMIN] [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<OsString>,
    /// The lock service: memory: or memcached://host:port[,host:port…] (memcacheds:// over TLS; user:password@ before the first host) [env: NAMELOCK_LOCK] [default: memory:]
    #[arg(long, value_name = "URL")]
    pub lock: Option<OsString>,
    /// The names database: sqlite:PATH or postgres://… [env: NAMELOCK_NAMES] [default: sqlite:namelock.db]
    #[arg(long, value_name = "URL")]
    pub names: Option<OsString>,
    /// The directory of tenants: DIR/TENANT/handler.wasm, and tenant.toml beside it [env: NAMELOCK_TENANTS] [default: tenants]
    #[arg(long, value_name = "DIR")]
    pub tenants: Option<OsString>,
    /// The directory of compiled components; only the host's user may enter it [env: NAMELOCK_CACHE] [default: namelock-cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<OsString>,
    /// Listens beyond loopback even if a tenant has no tokens, so that anybody can call it [env: NAMELOCK_OPEN]
    #[arg(long)]
    pub open: bool,
    /// Listens for operators beyond loopback even if none has a token, so that anybody can steer the host [env: NAMELOCK_ADMIN_OPEN]
    #[arg(long)]
    pub admin_open: bool,
}
