//! The native ceiling: the host with the logic of `rooms` as plain Rust where it runs a component.
//!
//! `namelock-native MEMCACHED NAMES` registers names as the host does for a tenant with the component `rooms`: the same
//! connections, the same reading and writing of JSON, the same admission, lock and names database, from the crates of the
//! host. What it has not is the sandbox, and with it what a stranger's code makes necessary: its limits, its account, and the
//! log of what it says. It is a measuring device, and no product: nobody's code but its own can run in it.

// The rules of the handler itself, so that both do the same work.
#[expect(unreachable_pub, reason = "there it is a module of a library")]
#[path = "../../../guest/handlers/rooms/src/name.rs"]
mod name;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use namelock::admission::{Admission, AdmissionLimits, Calls};
use namelock::config::HttpConfig;
use namelock::error::{ErrorKind, Problem};
use namelock::http::connections::{self, ConnectionLimits};
use namelock::http::wire;
use namelock_account::{Account, Budgets};
use namelock_lock::{AcquireError, LockConfig, Locks};
use namelock_names::{Keep, Names, NamesConfig, Quota, Registration, Save, SaveError};
use tokio::net::TcpListener;

use self::name::RoomName;

/// As the host has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANT: &str = "demo";
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// As many as a tenant of a measurement may have.
const CALLS: usize = 4096;
const RATE: u32 = 1_000_000;

struct Host {
    locks: Locks,
    names: Arc<dyn Names>,
    admission: Arc<Admission>,
    calls: Arc<Calls>,
    body_max: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [lock, names] = arguments.as_slice() else {
        bail!("usage: namelock-native MEMCACHED NAMES, two URLs as `namelock serve` takes them");
    };
    let http = HttpConfig::default();
    let names = namelock_names::open(&names.parse()?, NamesConfig::default()).await?;
    let limits = AdmissionLimits {
        calls: CALLS,
        calls_waiting: CALLS,
        rate: RATE,
        burst: RATE,
        ..AdmissionLimits::default()
    };
    let account = Arc::new(Account::new(TENANT, &Budgets::default()));
    let host = Arc::new(Host {
        locks: Locks::open(&lock.parse()?, LockConfig::default())?,
        names,
        admission: Arc::new(Admission::new(&limits, account)),
        calls: Calls::new(http.calls, http.calls_waiting, http.calls_wait),
        body_max: http.body,
    });
    let router = Router::new()
        .route("/v1/demo/names", routing::post(register))
        .with_state(host);
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    println!("listening on http://{}", listener.local_addr()?);
    let limits = ConnectionLimits::from(&http);
    connections::run(listener, None, router, limits, std::future::pending()).await;
    Ok(())
}

async fn register(State(host): State<Arc<Host>>, request: Request) -> Result<Response, Problem> {
    let admitted = host.admission.admit()?;
    let body = read(request.into_body(), host.body_max).await?;
    let _running = admitted.run(&host.calls).await?;
    let request = wire::parse_register(&body)?;
    let name =
        RoomName::parse(&request.name).map_err(|error| Problem::new(ErrorKind::NameInvalid, error.to_string()))?;
    let lifetime = request.lifetime.unwrap_or(A_DAY);
    let registration = host.take(&name, request.owner, lifetime, request.attributes).await?;
    let headers = [(CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, headers, wire::registration(&registration)?).into_response())
}

async fn read(body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let too_large = |_| {
        Problem::new(
            ErrorKind::PayloadTooLarge,
            "the body is too long, or its connection broke",
        )
    };
    Ok(to_bytes(body, max).await.map_err(too_large)?.into())
}

impl Host {
    /// What the handler does under the lock.
    async fn take(
        &self,
        name: &RoomName,
        owner: String,
        lifetime: Duration,
        attributes: Vec<(String, String)>,
    ) -> Result<Registration, Problem> {
        let lease = self.locks.acquire(TENANT, name.as_str(), Duration::ZERO).await;
        let lease = lease.map_err(|error| match error {
            AcquireError::Busy { .. } => Problem::new(ErrorKind::NameBusy, error.to_string()),
            _ => Problem::new(ErrorKind::LockUnavailable, error.to_string()),
        })?;
        let saved = match self.names.find(TENANT, name.as_str()).await {
            Ok(Some(_)) => Err(Problem::new(ErrorKind::NameTaken, "the name is taken")),
            Ok(None) => {
                let save = Save {
                    tenant: TENANT.to_owned(),
                    name: name.as_str().to_owned(),
                    owner,
                    lifetime: Some(lifetime),
                    attributes,
                    fencing_token: lease.fencing_token(),
                    deadline: lease.deadline(),
                    quota: Quota::default(),
                    hold: Duration::ZERO,
                    request: None,
                    keep: Keep::default(),
                };
                self.names.save(save).await.map_err(|error| match error {
                    SaveError::Taken(_) => Problem::new(ErrorKind::NameTaken, "the name is taken"),
                    _ => Problem::new(ErrorKind::NamesUnavailable, error.to_string()),
                })
            }
            Err(error) => Err(error.into()),
        };
        // However it ended, the lock is released before the answer.
        let _ = lease.release().await;
        saved
    }
}
