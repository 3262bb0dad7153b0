//! What the host keeps for one call.

use std::collections::VecDeque;
use std::sync::Arc;

use namelock_lock::{Lease, Locks};
use namelock_names::{Names, Registration};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bindings::namelock::registration::names as wit;
use crate::bindings::wasi::config::store;
use crate::clock::CoarseClock;
use crate::config::Tenant;
use crate::error::Cause;
use crate::handler::Powers;
use crate::limiter::Limiter;
use crate::log::TenantLog;
use crate::vigil::Vigil;

/// What a guest's handle of a lease names: a place among the leases of its call.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct LeaseHandle(usize);

/// The data of a call's store.
pub(crate) struct State {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) locks: Locks,
    pub(crate) names: Arc<dyn Names>,
    pub(crate) leases: Leases,
    pub(crate) limiter: Limiter,
    /// The last thing that the host could not do for this call.
    pub(crate) cause: Option<Cause>,
    pub(crate) table: ResourceTable,
    /// What the names database gave to this call, last.
    given: VecDeque<Registration>,
    wasi: WasiCtx,
}

/// How many registrations that a call was given are remembered, to check what it returns.
const GIVEN_MAX: usize = 16;

impl State {
    pub(crate) fn new(powers: &Powers, tenant: &Arc<Tenant>, request_id: &str) -> Self {
        let limits = &tenant.limits;
        let log = TenantLog::new(&tenant.id, request_id, limits.log_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(log.clone())
            .stderr(log)
            .max_random_size(limits.random_bytes)
            .wall_clock(CoarseClock::new())
            .monotonic_clock(CoarseClock::new());
        Self {
            locks: powers.locks.clone(),
            names: Arc::clone(&powers.names),
            leases: Leases::new(limits.leases),
            limiter: Limiter::new(limits.memory),
            cause: None,
            table,
            given: VecDeque::new(),
            wasi: wasi.build(),
            tenant: Arc::clone(tenant),
        }
    }

    /// Remembers that the database gave this registration to the call.
    pub(crate) fn give(&mut self, registration: &Registration) {
        if self.given.len() == GIVEN_MAX {
            self.given.pop_front();
        }
        self.given.push_back(registration.clone());
    }

    /// The registration that a handler returned, if the database gave it: a caller must not be told of one that nobody saved.
    pub(crate) fn given(&mut self, returned: wit::Registration) -> Option<Registration> {
        let returned = Registration::from(returned);
        self.given.contains(&returned).then_some(returned)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl store::Host for State {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        let setting = self.tenant.settings.iter().find(|(name, _)| *name == key);
        Ok(Ok(setting.map(|(_, value)| value.clone())))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(self.tenant.settings.clone()))
    }
}

/// The leases that one call holds. They stand here and not in the table of handles, so that the host finds them all when the call
/// ends, however it ends.
pub(crate) struct Leases {
    places: Vec<Option<Lease>>,
    vigil: Arc<Vigil>,
    limit: usize,
}

impl Leases {
    fn new(limit: usize) -> Self {
        Self {
            places: Vec::new(),
            vigil: Arc::default(),
            limit,
        }
    }

    /// A place for one more lease; none when the call holds as many as it may.
    pub(crate) fn place(&mut self) -> Option<LeaseHandle> {
        if let Some(free) = self.places.iter().position(Option::is_none) {
            return Some(LeaseHandle(free));
        }
        if self.places.len() >= self.limit {
            return None;
        }
        self.places.push(None);
        Some(LeaseHandle(self.places.len() - 1))
    }

    pub(crate) fn put(&mut self, place: &LeaseHandle, lease: Lease) {
        self.vigil.watch(place.0, Some(lease.end()));
        self.places[place.0] = Some(lease);
    }

    pub(crate) fn get(&self, handle: &LeaseHandle) -> Option<&Lease> {
        self.places.get(handle.0)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, handle: &LeaseHandle) -> Option<&mut Lease> {
        self.places.get_mut(handle.0)?.as_mut()
    }

    pub(crate) fn take(&mut self, handle: &LeaseHandle) -> Option<Lease> {
        let lease = self.places.get_mut(handle.0)?.take()?;
        self.vigil.watch(handle.0, None);
        Some(lease)
    }

    /// Who watches over them.
    pub(crate) fn vigil(&self) -> Arc<Vigil> {
        Arc::clone(&self.vigil)
    }

    /// Everything that is still held.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Lease> {
        std::mem::take(&mut self.places).into_iter().flatten()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}
