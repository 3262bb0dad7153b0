//! What an instance imports: locks in this process, names that nobody keeps, no settings, and WASI.

use namelock_lock::Locks;
use namelock_wasmtime::{LeaseHandle, Leases, LocksHost, LocksView};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Result, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::namelock::registration::names::{
    self, Change, NamesError, Page, Query, Registration, SaveError, Write,
};
use super::bindings::wasi::config::store;
use crate::forgetful::NOW_MS;
use crate::stage::TENANT;

/// How many leases it may have at once, as in the sandbox.
const LEASES: usize = 8;

/// The data of its store.
pub(super) struct State {
    locks: Locks,
    leases: Leases,
    table: ResourceTable,
    wasi: WasiCtx,
    pub(super) limits: StoreLimits,
}

impl State {
    /// With so many bytes at most in one memory.
    pub(super) fn new(locks: &Locks, memory_max: usize) -> Self {
        Self {
            locks: locks.clone(),
            leases: Leases::new(LEASES),
            table: ResourceTable::new(),
            wasi: WasiCtx::builder().build(),
            limits: StoreLimitsBuilder::new().memory_size(memory_max).build(),
        }
    }
}

/// Adds everything that a component may import.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    namelock_wasmtime::add_to_linker(linker)?;
    names::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl LocksHost for State {
    fn locks(&mut self) -> LocksView<'_> {
        LocksView::new(&self.locks, TENANT, &mut self.leases, &mut self.table)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) = (&mut self.wasi, &mut self.table);
        WasiCtxView { ctx, table }
    }
}

/// The answer to what no call of a measurement asks for.
const UNABLE: &str = "these names are made for register alone";

impl names::Host for State {
    async fn find(&mut self, _: String) -> Result<Result<Option<Registration>, NamesError>> {
        Ok(Ok(None))
    }

    async fn save(
        &mut self,
        lease: Resource<LeaseHandle>,
        owner: String,
        lifetime_ms: Option<u64>,
        attributes: Vec<(String, String)>,
    ) -> Result<Result<Registration, SaveError>> {
        let Some(lease) = self.leases.get(self.table.get(&lease)?) else {
            return Ok(Err(SaveError::LeaseLost));
        };
        Ok(Ok(Registration {
            name: lease.name().to_owned(),
            owner,
            created_ms: NOW_MS,
            expires_ms: lifetime_ms.map(|lifetime_ms| NOW_MS + lifetime_ms),
            fencing_token: lease.fencing_token().get(),
            attributes,
        }))
    }

    async fn free(&mut self, _: Resource<LeaseHandle>) -> Result<Result<bool, SaveError>> {
        Ok(Err(SaveError::Unavailable(UNABLE.to_owned())))
    }

    async fn update(&mut self, _: Resource<LeaseHandle>, _: Change) -> Result<Result<Option<Registration>, SaveError>> {
        Ok(Err(SaveError::Unavailable(UNABLE.to_owned())))
    }

    async fn apply(&mut self, _: Vec<Write>) -> Result<Result<Vec<Option<Registration>>, SaveError>> {
        Ok(Err(SaveError::Unavailable(UNABLE.to_owned())))
    }

    async fn list(&mut self, _: Query) -> Result<Result<Page, NamesError>> {
        Ok(Err(NamesError::Unavailable(UNABLE.to_owned())))
    }
}

impl store::Host for State {
    fn get(&mut self, _: String) -> Result<Result<Option<String>, store::Error>> {
        Ok(Ok(None))
    }

    fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(Vec::new()))
    }
}
