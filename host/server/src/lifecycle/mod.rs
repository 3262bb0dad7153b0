//! The life of a server: open, bind, serve, read the tenants again, drain.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use namelock_lock::Locks;
use namelock_names::Names;
use namelock_sandbox::compiler::ChildError;
use namelock_sandbox::{Powers, Sandbox, SandboxConfig, SandboxError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::admission::Calls;
use crate::config::{Config, HttpConfig};
use crate::http::connections::{self, Limits};
use crate::http::{self, App, BodyLimits};
use crate::metrics::Metrics;
use crate::rlimit;
use crate::source::ConfigError;
use crate::tenants::{self, Found, Tenants};

/// How long leases may take to be released, and the database to finish, once no request runs.
///
/// What is not released by then expires.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The admin listener is for a prober and a scraper; this many connections are plenty.
const ADMIN_LIMITS: Limits = Limits {
    connections: 64,
    header_bytes: 16 << 10,
    headers: 64,
    header_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(10),
    drain: Duration::from_secs(1),
};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was told something that cannot be done.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The lock service cannot be used as it is configured; whether it answers is not asked at the start.
    #[error("cannot open the lock service {url}; check --lock and the section lock")]
    Locks {
        /// Which one.
        url: String,
        /// Why not.
        #[source]
        source: namelock_lock::OpenError,
    },
    /// The names database cannot be used.
    #[error("cannot open the names database {url}; check --names")]
    Names {
        /// Which one.
        url: String,
        /// Why not.
        #[source]
        source: namelock_names::OpenError,
    },
    /// There is no sandbox to run handlers in.
    #[error("cannot run handlers on this machine")]
    Sandbox(#[source] SandboxError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; stop what uses it or pass another address with {flag}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// This process was a compiler, and could not even try.
    #[error("cannot compile a component")]
    Compile(#[source] ChildError),
    /// Nobody reads the help that was asked for.
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    /// The machine does not give what every server needs.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
}

impl ServeError {
    /// What the process answers: 2 if other arguments would help, 1 if the machine must change.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Locks { .. } | Self::Sandbox(SandboxError::Cache(_)) => 2,
            Self::Names { source, .. } => {
                use namelock_names::OpenError::{Config, File, Foreign, Newer, Server, Tls, Url};
                match source {
                    Url { .. } | Tls(_) | Config(_) => 2,
                    Server { .. } | File { .. } | Foreign { .. } | Newer { .. } => 1,
                }
            }
            Self::Sandbox(SandboxError::Engine(_) | SandboxError::Clock(_))
            | Self::Bind { .. }
            | Self::Compile(_)
            | Self::Print(_)
            | Self::Runtime(_) => 1,
        }
    }
}

/// Where the server listens, with the real ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The public listener.
    pub public: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

/// Catches SIGTERM and SIGINT from now on; what it answers ends with the first of them.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
    })
}

/// Catches SIGHUP from now on; each call of what it answers ends with the next one.
pub fn reload_signal() -> io::Result<impl AsyncFnMut()> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move || {
        hangup.recv().await;
    })
}

/// Serves until `shutdown`, and reads the tenants again whenever `reload` ends; calls `announce` once requests are accepted.
pub async fn serve(
    config: Config,
    announce: impl FnOnce(Addresses),
    shutdown: impl Future<Output = ()>,
    reload: impl AsyncFnMut(),
) -> Result<(), ServeError> {
    rlimit::make_room(config.http.connections)?;
    let found = tenants::find(&config.tenants, &config.limits, &config.limits_max)?;
    refuse_open(&config.http, &found)?;
    let locks = Locks::open(&config.lock_url, config.lock.clone()).map_err(|source| ServeError::Locks {
        url: config.lock_url.to_string(),
        source,
    })?;
    let names = namelock_names::open(&config.names_url, config.names.clone())
        .await
        .map_err(|source| ServeError::Names {
            url: config.names_url.to_string(),
            source,
        })?;
    refuse_what_cannot_be_saved(&config, &*names)?;
    let sandbox = Sandbox::new(&sandbox_config(&config), config.compiler.clone()).map_err(ServeError::Sandbox)?;
    let tenants = Arc::new(Tenants::new(sandbox));
    let read = Notify::new();
    let reading = keep_reading(&config, &tenants, found, &read, reload);
    let serving = serve_tenants(&config, &tenants, &read, announce, shutdown, locks, names);
    tokio::select! {
        result = serving => result,
        () = reading => Ok(()),
    }
}

/// Reads the tenants that were found, and then again whenever `reload` ends; says so once, when it has read them first.
async fn keep_reading(
    config: &Config,
    tenants: &Tenants,
    found: Vec<Found>,
    read: &Notify,
    mut reload: impl AsyncFnMut(),
) {
    tenants.read(found).await;
    read.notify_one();
    loop {
        reload().await;
        tracing::info!(dir = %config.tenants.display(), "reading the tenants again");
        let (dir, limits, limits_max) = (config.tenants.clone(), config.limits.clone(), config.limits_max.clone());
        let found = tokio::task::spawn_blocking(move || tenants::find(&dir, &limits, &limits_max));
        let panicked = |panic: JoinError| Err(ConfigError::new("tenants.dir", panic.to_string()));
        match found.await.unwrap_or_else(panicked) {
            Ok(mut found) => {
                if !may_be_open(&config.http) {
                    tenants::refuse_open(&mut found);
                }
                tenants.read(found).await;
            }
            Err(error) => tracing::error!(%error, "the tenants are served as they were"),
        }
    }
}

async fn serve_tenants(
    config: &Config,
    tenants: &Arc<Tenants>,
    read: &Notify,
    announce: impl FnOnce(Addresses),
    shutdown: impl Future<Output = ()>,
    locks: Locks,
    names: Arc<dyn Names>,
) -> Result<(), ServeError> {
    let mut shutdown = pin!(shutdown);
    tokio::select! {
        // Compiling may take long, and whoever stops a host that has not started should not wait for it.
        () = &mut shutdown => {
            close(&locks, &*names).await;
            return Ok(());
        }
        read = tokio::time::timeout(config.tenants_wait, read.notified()) => if read.is_err() {
            tracing::warn!("serving without the tenants that are still being loaded");
        }
    }
    let public = bind(config.http.listen, "--listen").await?;
    let admin = bind(config.admin, "--admin").await?;

    let app = App {
        tenants: Arc::clone(tenants),
        powers: Powers {
            locks: locks.clone(),
            names: Arc::clone(&names),
        },
        calls: Arc::new(Calls::new(
            config.http.calls,
            config.http.calls_waiting,
            config.http.calls_wait,
        )),
        metrics: Arc::default(),
        body: BodyLimits {
            max: config.http.body,
            timeout: config.http.body_timeout,
        },
    };
    announce(Addresses {
        public: address(&public)?,
        admin: address(&admin)?,
    });
    listen(config, public, admin, app, shutdown).await;
    close(&locks, &*names).await;
    Ok(())
}

/// Whether anybody who can reach this host may call a tenant that has no tokens.
fn may_be_open(http: &HttpConfig) -> bool {
    http.open || http.listen.ip().to_canonical().is_loopback()
}

/// Refuses to let anybody on the network call a tenant, unless that is what was asked for.
fn refuse_open(http: &HttpConfig, found: &[Found]) -> Result<(), ConfigError> {
    match tenants::first_open(found) {
        Some(tenant) if !may_be_open(http) => {
            let problem = format!(
                "others can reach {} and tenant `{tenant}` has no tokens; make one with `namelock token new`, \
                 listen on 127.0.0.1, or pass --open",
                http.listen
            );
            Err(ConfigError::new("http.listen", problem))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses leases that are too short to save anything, and fencing tokens that are forgotten while a lease may still write.
fn refuse_what_cannot_be_saved(config: &Config, names: &dyn Names) -> Result<(), ConfigError> {
    let (lease, deadline) = (config.lock.lease, names.deadline());
    if lease <= deadline {
        let problem = format!(
            "{lease:?} is no longer than a write to the names database may take ({deadline:?}), so nothing could be saved; \
             make it longer, or names.timeout or names.busy_timeout shorter"
        );
        return Err(ConfigError::new("lock.lease", problem));
    }
    let (retention, max_hold) = (config.names.retention, config.lock.max_hold);
    if retention < max_hold + deadline {
        let problem = format!(
            "{retention:?} is shorter than a lease may be held and still write ({max_hold:?} and {deadline:?}), and the database \
             would forget which tokens are old; make it longer, or lock.max_hold shorter"
        );
        return Err(ConfigError::new("names.retention", problem));
    }
    Ok(())
}

/// A call that was let in has an instance waiting for it, with room for the largest that any tenant may ever have.
fn sandbox_config(config: &Config) -> SandboxConfig {
    SandboxConfig {
        instances: u32::try_from(config.http.calls).unwrap_or(u32::MAX),
        memory_max: config.limits_max.call.memory,
        stack: config.stack,
        ..SandboxConfig::default()
    }
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind { address, flag, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(ServeError::Runtime)
}

/// Runs both listeners; the admin listener outlives the public one, so that it can say that the host is stopping.
async fn listen(
    config: &Config,
    public: TcpListener,
    admin: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()>,
) {
    let (draining, drained) = (CancellationToken::new(), CancellationToken::new());
    let admin_router = admin::router(Admin {
        locks: app.powers.locks.clone(),
        names: Arc::clone(&app.powers.names),
        metrics: Arc::<Metrics>::clone(&app.metrics),
        calls: Arc::clone(&app.calls),
        tenants: Arc::clone(&app.tenants),
        draining: draining.clone(),
    });
    let limits = Limits {
        connections: config.http.connections,
        header_bytes: config.http.header_bytes,
        headers: config.http.headers,
        header_timeout: config.http.header_timeout,
        write_timeout: config.http.write_timeout,
        drain: config.http.drain,
    };
    let shutdown = async {
        shutdown.await;
        draining.cancel();
    };
    let public = async {
        let cut_off = connections::run(public, http::router(Arc::new(app)), limits, shutdown).await;
        if cut_off > 0 {
            tracing::warn!(connections = cut_off, drain = ?config.http.drain, "cut off what did not end in time");
        }
        drained.cancel();
    };
    tokio::join!(
        public,
        connections::run(admin, admin_router, ADMIN_LIMITS, drained.cancelled())
    );
}

/// Ends what the requests left behind: leases first, because others wait for them.
async fn close(locks: &Locks, names: &dyn Names) {
    locks.close(CLOSE_TIMEOUT).await;
    if tokio::time::timeout(CLOSE_TIMEOUT, names.close()).await.is_err() {
        tracing::warn!(within = ?CLOSE_TIMEOUT, "the names database did not finish in time");
    }
    tracing::info!("stopped");
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::cli::ServeFlags;

    fn flags(dir: &tempfile::TempDir) -> ServeFlags {
        let mut names = OsString::from("sqlite:");
        names.push(dir.path().join("names.db"));
        ServeFlags {
            listen: Some("127.0.0.1:0".into()),
            admin: Some("127.0.0.1:0".into()),
            names: Some(names),
            tenants: Some(dir.path().into()),
            cache: Some(dir.path().join("cache").into()),
            ..ServeFlags::default()
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Serves with these flags while `during` runs.
    async fn while_serving(flags: &ServeFlags, during: impl AsyncFnOnce(Addresses)) -> Result<(), ServeError> {
        let config = Config::load(flags, &|_| None)?;
        let (announced, addresses) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let announce = |addresses| announced.send(addresses).unwrap();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let server = serve(config, announce, shutdown, async || std::future::pending().await);
        let client = async {
            if let Ok(addresses) = addresses.await {
                during(addresses).await;
            }
            drop(stop);
        };
        tokio::join!(server, client).0
    }

    #[tokio::test]
    async fn a_server_starts_answers_and_stops() {
        let dir = tempfile::tempdir().unwrap();
        let flags = flags(&dir);
        let result = while_serving(&flags, async |addresses| {
            assert!(get(addresses.admin, "/healthz").await.starts_with("HTTP/1.1 200 "));
            let ready = get(addresses.admin, "/readyz").await;
            assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
            assert!(ready.ends_with(r#"{"ready":true,"reasons":[]}"#), "{ready}");
            assert!(
                get(addresses.public, "/v1/acme/names/n")
                    .await
                    .contains("unknown_tenant")
            );
            let metrics = get(addresses.admin, "/metrics").await;
            assert!(
                metrics.contains(r#"{operation="find",code="unknown_tenant"} 1"#),
                "{metrics}"
            );
        });
        result.await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_service_that_is_down_does_not_stop_the_start() {
        let dir = tempfile::tempdir().unwrap();
        // Nothing listens on port 1.
        let flags = ServeFlags {
            lock: Some("memcached://127.0.0.1:1".into()),
            ..flags(&dir)
        };
        let result = while_serving(&flags, async |addresses| {
            let ready = get(addresses.admin, "/readyz").await;
            assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
            assert!(ready.contains(r#"{"part":"lock","reason":""#), "{ready}");
            assert!(get(addresses.admin, "/healthz").await.starts_with("HTTP/1.1 200 "));
        });
        result.await.unwrap();
    }

    #[tokio::test]
    async fn what_stops_the_start_has_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().to_string();
        let check = async |flags: ServeFlags, code: u8, expect: &str| {
            let error = while_serving(&flags, async |_| ()).await.unwrap_err();
            let line = crate::error::chain(&error);
            assert!(line.starts_with(expect), "{line}");
            assert_eq!(error.exit_code(), code, "{line}");
        };
        let expect = format!("cannot listen on {taken}; stop what uses it or pass another address with --listen: ");
        check(
            ServeFlags {
                listen: Some(taken.clone().into()),
                ..flags(&dir)
            },
            1,
            &expect,
        )
        .await;
        check(
            ServeFlags {
                tenants: Some("/no/such/dir".into()),
                ..flags(&dir)
            },
            2,
            "/no/such/dir: ",
        )
        .await;
        let names = "sqlite:/no/such/dir/names.db";
        let expect = format!("cannot open the names database {names}; check --names: ");
        check(
            ServeFlags {
                names: Some(names.into()),
                ..flags(&dir)
            },
            1,
            &expect,
        )
        .await;
        drop(listener);
    }
}
