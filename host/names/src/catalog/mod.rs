//! The catalog of a fleet's tenants, in a PostgreSQL server: of each tenant its settings and its component.
//!
//! It stores texts and bytes, and knows nothing of what they mean: whoever puts a component says what its SHA-256 is,
//! and whoever reads one checks it. It shares with the names database how a server is reached, but has tables and
//! connections of its own, so that neither waits for the other.
//!
//! In reading order:
//!
//! - `config`: the limits and timeouts, with their defaults;
//! - `error`: what can go wrong;
//! - `tenant`: what there is of a tenant, and what can be changed of it;
//! - `ask`: how the server is asked, within a deadline;
//! - `schema`: the tables;
//! - `connections`: the connections to it;
//! - `write`: the transactions that put and remove;
//! - `changes`: how a host hears that something has changed.
//!
//! # What is promised
//!
//! - What is put or removed is on disk before the answer is given, and hosts that wait in [`Catalog::changed`] are
//!   told.
//! - A tenant's revision grows with everything that is put for it, also after it was removed in between.
//! - Every tenant's component is there. One that no tenant uses goes in the transaction that ends its last use,
//!   whatever others put meanwhile.
//! - A server that is down is no reason not to start: until it can be used, callers are told that it cannot.

mod ask;
mod changes;
mod config;
mod connections;
mod error;
mod schema;
mod tenant;
mod write;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use namelock_types::error_chain;

use self::ask::{Failure, rows};
use self::changes::Changes;
pub use self::config::CatalogConfig;
use self::connections::{Connection, Connections, give_back};
pub use self::error::{CatalogError, CatalogSetupError};
pub use self::tenant::{CatalogTenant, Put};
use self::tenant::{TENANTS, tenant};
use crate::postgres::reach::Reach;
use crate::postgres::session::Session;
use crate::postgres::tls;
use crate::url::NamesUrl;

/// The length of a component, and its bytes if there are no more than `$2`: how many there are is known without reading
/// them.
const COMPONENT: &str = "SELECT octet_length(wasm)::bigint, CASE WHEN octet_length(wasm) <= $2::bigint THEN wasm END
    FROM namelock_components WHERE sha256 = $1";

/// The tenants of a fleet. Clones share its connections; each notices changes for itself.
pub struct Catalog {
    shared: Arc<Shared>,
    /// How many changes there were when [`changed`](Catalog::changed) returned last.
    seen: AtomicU64,
}

struct Shared {
    connections: Connections,
    changes: Changes,
    component_max: usize,
    /// The URL without its password.
    shown: String,
}

impl Catalog {
    /// Makes a catalog of the tenants in the server at `url`. It does not connect yet: the first connection creates the
    /// tables, whenever that is.
    ///
    /// # Errors
    ///
    /// [`CatalogSetupError`] when the URL is not that of a server, or a setting could not work.
    pub fn new(url: &NamesUrl, config: CatalogConfig) -> Result<Self, CatalogSetupError> {
        let shown = url.to_string();
        let refused = |reason: String| CatalogSetupError {
            url: shown.clone(),
            reason,
        };
        // Where names are in several databases, it is in the first.
        let first = match url {
            NamesUrl::Several(several) => several.first().unwrap_or(url),
            NamesUrl::Sqlite(_) | NamesUrl::Postgres(_) => url,
        };
        let NamesUrl::Postgres(server) = first else {
            let reason = "hosts of a fleet share it, so it must be in a server: give postgres://host/database";
            return Err(refused(reason.to_owned()));
        };
        config.check().map_err(refused)?;
        let server = server.parse().map_err(|error| refused(error_chain(&error)))?;
        let session = Session {
            application: "namelock-catalog",
            timeout: config.timeout,
            connect_timeout: config.connect_timeout,
            options: "-c jit=off",
        };
        let server = session.configure(server);
        let tls = tls::connector(config.tls_roots.as_deref()).map_err(|problem| {
            refused(format!(
                "cannot set up TLS: {problem}; check the file of root certificates"
            ))
        })?;
        let reach = Reach::new(server, tls, config.connect_timeout).map_err(refused)?;
        let connections = Connections::new(reach.clone(), &shown, &config).map_err(refused)?;
        let shared = Shared {
            connections,
            changes: Changes::new(reach, &config, shown.clone()),
            component_max: config.component_max,
            shown,
        };
        Ok(Self {
            shared: Arc::new(shared),
            seen: AtomicU64::new(0),
        })
    }

    /// Returns all tenants, in order of their ids, as they were at one instant.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`].
    pub async fn tenants(&self) -> Result<Vec<CatalogTenant>, CatalogError> {
        let read = async {
            let connection = self.shared.connections.get().await?;
            let rows = rows(&**connection, self.shared.connections.timeout(), TENANTS, &[]).await?;
            give_back(connection);
            rows.iter().map(tenant).collect()
        };
        self.answer(read.await, || "read its tenants".to_owned())
    }

    /// Returns the component with this SHA-256. None: no tenant uses it, or none does any longer.
    ///
    /// Whether it has that SHA-256 is for the caller to check.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`], and [`CatalogError::TooLong`] when it is longer than
    /// [`component_max`](CatalogConfig::component_max); the server does not send it then.
    pub async fn component(&self, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, CatalogError> {
        let max = i64::try_from(self.shared.component_max).unwrap_or(i64::MAX);
        let read = async {
            let connection = self.shared.connections.get().await?;
            let timeout = self.shared.connections.timeout();
            let rows = rows(&**connection, timeout, COMPONENT, &[&&sha256[..], &max]).await?;
            give_back(connection);
            let Some(row) = rows.first() else {
                return Ok(None);
            };
            let wasm: Option<Vec<u8>> = row.try_get(1)?;
            if wasm.is_none() {
                let bytes = row.try_get::<_, i64>(0)?.unsigned_abs();
                return Err(Failure::Refused(self.too_long(&sha256, bytes)));
            }
            Ok(wasm)
        };
        self.answer(read.await, || format!("read component {}", hex(&sha256)))
    }

    /// Changes a tenant, or adds one that is new, and tells everybody who waits for changes. Returns its new revision.
    ///
    /// A caller that hangs up cannot know whether it was done.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`]. Only after [`CatalogError::Unknown`] it may have been done; to do it again is safe. A
    /// repetition with [`if_revision`](Put::if_revision) may then be told that the tenant was changed, by itself.
    pub async fn put(&self, tenant: &str, put: Put) -> Result<u64, CatalogError> {
        if tenant.contains('\0') || put.settings.as_ref().is_some_and(|settings| settings.contains('\0')) {
            return Err(CatalogError::Invalid {
                reason: format!(
                    "the settings of tenant {tenant:?}, or its id, contain the character NUL, which cannot be stored; \
                     take it out"
                ),
            });
        }
        if let Some((sha256, wasm)) = &put.component
            && wasm.len() > self.shared.component_max
        {
            return Err(self.too_long(sha256, wasm.len() as u64));
        }
        let done = async {
            let mut connection = self.shared.connections.get().await?;
            let done = write::put(&mut connection, self.shared.connections.timeout(), tenant, &put).await;
            give_back_unless_broken(connection, &done);
            done
        };
        self.answer(done.await, || format!("put tenant {tenant:?}"))
    }

    /// Removes a tenant, and tells everybody who waits for changes. Returns whether there was such a tenant.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`], and [`CatalogError::Unknown`] when it may have been removed.
    pub async fn remove(&self, tenant: &str) -> Result<bool, CatalogError> {
        let done = async {
            let mut connection = self.shared.connections.get().await?;
            let done = write::remove(&mut connection, self.shared.connections.timeout(), tenant).await;
            give_back_unless_broken(connection, &done);
            done
        };
        self.answer(done.await, || format!("remove tenant {tenant:?}"))
    }

    /// Waits until something may have changed since this returned last, at the latest for
    /// [`poll`](CatalogConfig::poll).
    ///
    /// Whoever reads the [tenants](Self::tenants) each time that this has returned misses no change: what changes while
    /// they are read makes it return again. It also returns when changes may have been missed, such as the first time,
    /// and when the connection that they are heard on had broken.
    pub async fn changed(&self) {
        let seen = self.seen.load(Ordering::Relaxed);
        let now = self.shared.changes.after(seen).await;
        self.seen.store(now, Ordering::Relaxed);
    }

    fn too_long(&self, sha256: &[u8; 32], bytes: u64) -> CatalogError {
        CatalogError::TooLong {
            sha256: hex(sha256),
            bytes,
            max: self.shared.component_max as u64,
        }
    }

    /// Turns what has failed into what a caller is told; `doing` says what was being done.
    fn answer<T>(&self, done: Result<T, Failure>, doing: impl FnOnce() -> String) -> Result<T, CatalogError> {
        let url = || self.shared.shown.clone();
        done.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Unavailable(reason) => CatalogError::Unavailable {
                url: url(),
                doing: doing(),
                reason,
            },
            Failure::Unknown(reason) => CatalogError::Unknown {
                url: url(),
                doing: doing(),
                reason,
            },
        })
    }
}

impl Clone for Catalog {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: AtomicU64::new(self.seen.load(Ordering::Relaxed)),
        }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Catalog({})", self.shared.shown)
    }
}

/// A transaction that was refused is rolled back before the next one begins; with any other failure something may be
/// under way.
fn give_back_unless_broken<T>(connection: Connection, done: &Result<T, Failure>) {
    if matches!(done, Ok(_) | Err(Failure::Refused(_))) {
        give_back(connection);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
