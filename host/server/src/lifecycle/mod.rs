//! The lifecycle of a server: open, bind, serve, reload, drain.

pub(crate) mod checks;
mod epochs;
mod error;
mod listeners;
mod loading;
mod manager;
mod signals;
mod traces;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use namelock_lock::Locks;
use namelock_names::{Names, NamesConfig, NamesUrl};
use namelock_sandbox::{Powers, Sandbox, SandboxConfig};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::epochs::DatabaseEpochs;
pub use self::error::RunError;
pub(crate) use self::listeners::open_tls;
pub use self::listeners::{Address, Addresses};
use self::listeners::{Identities, Port, Ports};
use self::loading::{Origin, keep_loading};
pub use self::manager::Manager;
use self::manager::Reports;
pub use self::signals::{Stop, reload_signal, stop_signals};
use self::traces::Traces;

use crate::admin::{self, Admin, Operators};
use crate::admission::Calls;
use crate::config::Config;
use crate::http::connections::{self, ConnectionLimits};
use crate::http::{self, App, BodyLimits, Follows};
use crate::metrics::Metrics;
use crate::overview::{Overview, Sources};
use crate::recordings::Recorder;
use crate::rlimit;
use crate::same_site;
use crate::telemetry::Log;
use crate::tenants::fleet::Fleet;
use crate::tenants::versions::Versions;
use crate::tenants::{Stock, Tenants};
use crate::trace::Tracer;

/// How long leases may take to be released, and the database to finish, once no request runs.
///
/// Leases that are not released by then expire.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens what the configuration names and serves until `stop` returns; loads the tenants again whenever `reload` returns,
/// and calls `announce` once it accepts requests. The service manager hears of each of these.
pub async fn serve(
    mut config: Config,
    log: Log,
    manager: Manager,
    announce: impl FnOnce(Addresses),
    stop: impl AsyncFnMut() -> Stop,
    reload: impl AsyncFnMut(),
) -> Result<(), RunError> {
    rlimit::ensure_open_files(config.http.connections)?;
    rlimit::ensure_mappings(config.http.calls)?;
    manager.sockets.place(&mut config)?;
    checks::refuse_contradictions(&config)?;
    let origin = Origin::open(&config)?;
    let identities = Identities::open(&config)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        lock = %config.lock_url,
        names = %config.names_url,
        tenants = origin.tenants(),
        calls = config.http.calls,
        connections = config.http.connections,
        lease = ?config.lock.lease,
        "starting; `namelock serve --print-config` shows all settings"
    );
    let names = NamesConfig {
        // A handler may do as many writes at once as it may hold leases.
        apply_max: config.limits_max.call.leases,
        ..config.names.clone()
    };
    let names = namelock_names::open(&config.names_url, names)
        .await
        .map_err(|source| RunError::Names {
            url: config.names_url.to_string(),
            source,
        })?;
    let epochs = Arc::new(DatabaseEpochs(Arc::clone(&names)));
    let locks =
        Locks::open_with(&config.lock_url, config.lock_service(), epochs).map_err(|source| RunError::Locks {
            url: config.lock_url.to_string(),
            source,
        })?;
    let recorder = Recorder::open(&config.record)?;
    let traces = Traces::open(&config.trace)?;
    let sandbox = Sandbox::new(&sandbox_config(&config), config.compiler.clone()).map_err(RunError::Sandbox)?;
    let versions = Versions::open(config.versions.clone())?;
    let catalog = origin.fleet().map(|fleet| fleet.catalog());
    let stock = Stock {
        versions,
        catalog,
        oci: config.oci.clone(),
    };
    let tenants = Arc::new(Tenants::with_stock(sandbox, stock, &config.lock, &config.names));
    let loaded = Notify::new();
    let operators = Arc::new(Operators::new(&config.admin));
    let fleet = origin.fleet();
    let (reports, delivery) = Reports::open(&manager);
    reports.loading();
    let loading = keep_loading(&config, (&tenants, &operators), origin, (&loaded, &reports), reload);
    let announce = |addresses| {
        announce(addresses);
        reports.serving(addresses);
    };
    let opened = Opened {
        fleet,
        ports: Ports::new(&config, &identities, manager.sockets),
        identities: identities.clone(),
        operators: Arc::clone(&operators),
        locks,
        names,
        log: log.clone(),
        recorder: recorder.clone(),
        traces,
    };
    let serving = serve_tenants(&config, &tenants, opened, (&loaded, &reports), announce, stop);
    tokio::select! {
        result = serving => result,
        () = identities.keep_fresh() => Ok(()),
        () = loading => Ok(()),
        () = Recorder::keep_swept(recorder) => Ok(()),
        () = log.filter.keep() => Ok(()),
        () = delivery.run() => Ok(()),
    }
}

/// What was opened for a host.
struct Opened {
    fleet: Option<Arc<Fleet>>,
    ports: Ports,
    identities: Identities,
    operators: Arc<Operators>,
    locks: Locks,
    names: Arc<dyn Names>,
    log: Log,
    recorder: Option<Arc<Recorder>>,
    traces: Traces,
}

/// Serves operators from now on, and everybody once the tenants are loaded, or after `tenants.wait`.
async fn serve_tenants(
    config: &Config,
    tenants: &Arc<Tenants>,
    opened: Opened,
    (loaded, reports): (&Notify, &Reports),
    announce: impl FnOnce(Addresses),
    stop: impl AsyncFnMut() -> Stop,
) -> Result<(), RunError> {
    let Opened {
        fleet,
        ports,
        identities,
        operators,
        locks,
        names,
        log,
        recorder,
        traces: Traces { tracer, exporter },
    } = opened;
    // Before the tenants are loaded, which may take minutes: whoever watches the process sees that it lives.
    let listener = ports.admin.bind()?;
    let address = listener.address()?;
    tracing::info!(admin = %address, within = ?config.tenants_wait, "loading the tenants; requests are accepted when that is done, or after this time");
    let app = App {
        tenants: Arc::clone(tenants),
        powers: Powers {
            locks: locks.clone(),
            names: Arc::clone(&names),
        },
        calls: Calls::new(config.http.calls, config.http.calls_waiting, config.http.calls_wait),
        metrics: Arc::default(),
        faults: Arc::default(),
        recorder,
        follows: Follows::new(config.http.connections),
        tracer,
        body: BodyLimits {
            max: config.http.body,
            timeout: config.http.body_timeout,
        },
    };
    let draining = CancellationToken::new();
    let overview = Arc::new(Overview::new(Sources {
        locks: locks.clone(),
        names: Arc::clone(&names),
        database: database(&config.names_url),
        tenants: Arc::clone(tenants),
        calls: Arc::clone(&app.calls),
        calls_max: config.http.calls,
        metrics: Arc::<Metrics>::clone(&app.metrics),
        faults: Arc::clone(&app.faults),
        draining: draining.clone(),
    }));
    let admin = Admin {
        operators,
        tls: identities.all(),
        logins: identities.logins(),
        locks: locks.clone(),
        names: Arc::clone(&names),
        metrics: Arc::<Metrics>::clone(&app.metrics),
        calls: Arc::clone(&app.calls),
        tenants: Arc::clone(tenants),
        fleet,
        metrics_tenants: config.metrics_tenants,
        log,
        accepting: Arc::default(),
        traces: app.tracer.as_ref().map(Tracer::figures),
        draining: draining.clone(),
        overview: Arc::clone(&overview),
        known_as: match config.admin.tls.certificate {
            Some(_) => same_site::Names::Any,
            None => same_site::Names::These(config.admin.hosts.as_slice().into()),
        },
    };
    let accepting = Arc::clone(&admin.accepting);
    let drained = CancellationToken::new();
    // It outlives the public listener, so that it can report that the host is stopping.
    let admin_listener = connections::run(
        listener.listener,
        listener.tls,
        admin::router(admin),
        ConnectionLimits::ADMIN,
        drained.cancelled(),
    );
    let announce = |public| {
        accepting.store(true, Relaxed);
        announce(Addresses { public, admin: address });
    };
    let public = async {
        let served = serve_public(config, ports.public, app, (loaded, reports), announce, stop, &draining).await;
        drained.cancel();
        served
    };
    let done = CancellationToken::new();
    let serving = async {
        let served = tokio::select! {
            (served, _) = async { tokio::join!(public, admin_listener) } => served,
            () = overview.run() => Ok(()),
        };
        done.cancel();
        close(&locks, &*names).await;
        served
    };
    let (served, ()) = tokio::join!(serving, traces::send(exporter, done.cancelled()));
    tracing::info!("stopped");
    served
}

/// Serves the public listener once the tenants are loaded, until it is told to stop, and drains it.
async fn serve_public(
    config: &Config,
    public: Port,
    app: App,
    (loaded, reports): (&Notify, &Reports),
    announce: impl FnOnce(Address),
    mut stop: impl AsyncFnMut() -> Stop,
    draining: &CancellationToken,
) -> Result<(), RunError> {
    tokio::select! {
        // Compiling may take long, and stopping a host that is still starting should not wait for it.
        _ = stop() => {
            reports.stopping();
            return Ok(());
        }
        () = draining.cancelled() => {
            reports.stopping();
            return Ok(());
        }
        loaded = tokio::time::timeout(config.tenants_wait, loaded.notified()) => if loaded.is_err() {
            tracing::warn!("serving without the tenants that are still being loaded");
        }
    }
    let public = public.bind()?;
    announce(public.address()?);
    let limits = ConnectionLimits::from(&config.http);
    let follows = app.follows.clone();
    let shutdown = async {
        lame_duck(config.http.lame_duck, draining, reports, stop).await;
        follows.end();
    };
    let router = http::router(Arc::new(app));
    let cut_off = connections::run(public.listener, public.tls, router, limits, shutdown).await;
    if cut_off > 0 {
        let drain = config.http.drain;
        tracing::warn!(
            connections = cut_off,
            ?drain,
            "cut off connections that did not end in time"
        );
    }
    Ok(())
}

/// Gives the sandbox an instance for each call that may run, with memory for the most that any tenant may ever have.
fn sandbox_config(config: &Config) -> SandboxConfig {
    SandboxConfig {
        instances: u32::try_from(config.http.calls).unwrap_or(u32::MAX),
        memory_max: config.limits_max.call.memory,
        stack: config.stack,
        ..SandboxConfig::default()
    }
}

/// What the names database is, for people.
fn database(url: &NamesUrl) -> &'static str {
    match url {
        NamesUrl::Sqlite(_) => "SQLite",
        NamesUrl::Postgres(_) | NamesUrl::Several(_) => "PostgreSQL",
    }
}

/// Waits until the server is told to stop, and then for so long that whoever asks whether it is ready has seen that it is not:
/// until then everything is served. Told once more it waits no longer.
async fn lame_duck(
    time: Duration,
    draining: &CancellationToken,
    reports: &Reports,
    mut stop: impl AsyncFnMut() -> Stop,
) {
    let told = tokio::select! {
        told = stop() => told,
        // An operator has asked for it.
        () = draining.cancelled() => Stop::Announced,
    };
    draining.cancel();
    reports.stopping();
    if told == Stop::AtOnce || time.is_zero() {
        return;
    }
    tracing::info!(lame_duck = ?time, "not ready any more, and serving until balancers have seen it");
    let again = tokio::time::timeout(time, stop()).await;
    if again.is_ok() {
        tracing::info!("told again: the rest of http.lame_duck is skipped");
    }
}

/// Finishes what the requests have left: leases first, because others wait for them.
// Keeps P3: the leases of the last calls are released before the process ends, and not left to expire.
async fn close(locks: &Locks, names: &dyn Names) {
    locks.close(CLOSE_TIMEOUT).await;
    if tokio::time::timeout(CLOSE_TIMEOUT, names.close()).await.is_err() {
        tracing::warn!(within = ?CLOSE_TIMEOUT, "the names database did not finish in time");
    }
}

#[cfg(test)]
mod tests;
