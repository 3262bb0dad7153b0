//! The connections to the server.
//!
//! One that is dropped is closed: something may be under way on it.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, PoolError, Timeouts};
use deadpool_postgres::ClientWrapper;
use namelock_types::error_chain;
use scopeguard::ScopeGuard;

use crate::config::{GRACE, NamesConfig};
use crate::error::OpenError;
use crate::postgres::gates::Gates;
use crate::postgres::link::{Era, Lent, Linking, Links};
use crate::postgres::reach::{Reach, Unreachable};
use crate::postgres::schema::{Migrated, Role, SchemaError};
use crate::postgres::session::Session;
use crate::postgres::sql::PLANNING;
use crate::postgres::tls;
use crate::postgres::turns::{Kind, NoTurn, Turn, Turns};

/// The connections of this process, and whether it knows the tables to be up to date.
#[derive(Clone)]
pub(super) struct Pool {
    connections: Links,
    era: Era,
    has_several: bool,
    turns: Turns,
    migrated: Migrated,
    timeout: Duration,
    /// Whether tenants may have been moved away.
    pub(super) gates: Gates,
}

/// A connection that is closed when it is dropped; [`give_back`] returns it to the pool instead.
pub(super) struct Connection {
    object: ScopeGuard<Lent, fn(Lent)>,
    /// Ends after the connection was closed or given back, so that the next caller finds a free one.
    pub(super) turn: Turn,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Turn(NoTurn),
    #[error("it cannot be reached: {}", match .0 {
        PoolError::Backend(why) => why.to_string(),
        other => other.to_string(),
    })]
    Pool(PoolError<Unreachable>),
    #[error(transparent)]
    Schema(SchemaError),
}

impl Pool {
    /// Makes a pool for the server at `url`, which may be down. `shown` is the URL without its password.
    pub(super) fn new(url: &str, shown: &str, config: &NamesConfig, role: Role) -> Result<Self, OpenError> {
        let refused = |reason: String| OpenError::Url {
            url: shown.to_owned(),
            reason,
        };
        let server = url.parse().map_err(|error| refused(error_chain(&error)))?;
        let session = Session {
            application: "namelock",
            timeout: config.timeout,
            connect_timeout: config.connect_timeout,
            options: PLANNING,
        };
        let tls = tls::connector(config.tls_roots.as_deref()).map_err(OpenError::Tls)?;
        let reach = Reach::new(session.configure(server), tls, config.connect_timeout).map_err(refused)?;
        let has_several = reach.has_several();
        let linking = Linking::new(reach, shown);
        let era = linking.era();
        let connections = Links::builder(linking)
            .max_size(config.connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(config.timeout),
                // Each of the servers has its own.
                create: None,
                recycle: None,
            })
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            connections,
            era,
            has_several,
            turns: Turns::new(config.connections, config.queue, config.timeout + GRACE),
            migrated: Migrated::new(role),
            timeout: config.timeout,
            gates: match role {
                Role::Alone => Gates::default(),
                Role::First | Role::Other => Gates::expected(),
            },
        })
    }

    /// Waits until it is the tenant's turn.
    pub(super) async fn turn(&self, tenant: &str, kind: Kind) -> Result<Turn, ConnectError> {
        self.turns.take(tenant, kind).await.map_err(ConnectError::Turn)
    }

    /// Returns a connection to a server whose tables are up to date. It waits as long as the server takes: the caller has
    /// a deadline.
    pub(super) async fn connection(&self, turn: Turn) -> Result<Connection, ConnectError> {
        let object = self.connections.get().await.map_err(ConnectError::Pool)?;
        let connection = Connection {
            object: scopeguard::guard(object, |object| drop(Object::take(object))),
            turn,
        };
        self.migrated.ensure(connection).await.map_err(ConnectError::Schema)
    }

    /// Returns whether its URL names several servers.
    pub(super) fn has_several(&self) -> bool {
        self.has_several
    }

    /// Has no connection used again that is as old as this one: its server hangs, or does not write.
    pub(super) fn distrust(&self, connection: &Connection) {
        self.era.end(connection.object.era());
    }

    /// Waits until there is reason to think that the server of this connection is the primary no longer.
    pub(super) async fn until_distrusted(&self, connection: &Connection) {
        self.era.changed(connection.object.era()).await;
    }

    /// Returns how many writes are overdue now, and how many ever were.
    pub(super) fn overdue(&self) -> (usize, u64) {
        self.turns.overdue()
    }

    /// Returns how long a statement may take, including the wait for a connection.
    pub(super) fn deadline(&self) -> Duration {
        self.timeout + GRACE
    }

    /// Returns the reason to give when the deadline has passed.
    pub(super) fn no_answer(&self) -> String {
        format!("it has not answered within {:?} (names.timeout)", self.timeout)
    }

    /// Closes every connection that is not in use, and lets nobody have another one.
    pub(super) fn close(&self) {
        self.connections.close();
    }
}

/// Returns a connection to the pool, which closes it if it is [distrusted](Pool::distrust). Nothing may be under way on it.
pub(super) fn give_back(connection: Connection) {
    drop(ScopeGuard::into_inner(connection.object));
    drop(connection.turn);
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.object
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.object
    }
}
