//! The data of a call's store, and the view of it that each interface gets.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::clock::CoarseClock;
use crate::config::Tenant;
use crate::error::Cause;
use crate::limiter::Limiter;
use crate::log::TenantLog;
use crate::phases::Phases;
use crate::powers::Powers;
use crate::recording::Tape;
use crate::request::{Context, Repeatable};
use crate::service::Services;
use crate::wit::locks::{Leases, LocksObserver, LocksView};
use crate::wit::names::{NamesView, Received};
use crate::wit::settings::SettingsView;
use crate::wit::taped::{Grants, Taped};
use crate::wit::written::Writes;

/// Calls of the host that a guest makes when it should have been stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Late {
    /// How often the epoch had ticked at the first of them.
    pub(crate) since: u64,
    /// How many there were since it could have been stopped.
    pub(crate) calls: u32,
}

/// What the host keeps for one call.
pub(crate) struct State {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) leases: Leases,
    pub(crate) limiter: Limiter,
    /// What the host last failed to do for this call.
    pub(crate) cause: Option<Cause>,
    pub(crate) received: Received,
    pub(crate) log: TenantLog,
    /// How often the guest has called the host.
    pub(crate) host_calls: u32,
    /// The calls of the host that came late in the poll that goes on; see `store`.
    pub(crate) late: Option<Late>,
    pub(crate) writes: Writes,
    pub(crate) tape: Tape,
    phases: Arc<Phases>,
    grants: Grants,
    powers: Powers,
    services: Arc<Services>,
    table: ResourceTable,
    wasi: WasiCtx,
}

impl State {
    pub(crate) fn new(
        powers: &Powers,
        services: &Arc<Services>,
        tenant: &Arc<Tenant>,
        context: &Context,
        request: Option<Repeatable>,
        tape: &Tape,
    ) -> Self {
        let limits = &tenant.limits;
        let log = TenantLog::new(
            &tenant.account,
            &tenant.feed,
            &context.request_id,
            limits.log_bytes,
            tape,
        )
        .traced(context.trace_id);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(log.clone())
            .stderr(log.clone())
            .max_random_size(limits.random_bytes)
            // There is no address either that a socket could use, and no name that can be looked up.
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .wall_clock(CoarseClock::new(tape))
            .monotonic_clock(CoarseClock::new(tape));
        if let Some(seed) = tape.seed() {
            wasi.secure_random(seed.secure())
                .insecure_random(seed.insecure())
                .insecure_random_seed(seed.insecure_seed());
        }
        Self {
            leases: Leases::new(limits.leases),
            limiter: Limiter::new(limits.memory),
            cause: None,
            received: Received::default(),
            log,
            host_calls: 0,
            late: None,
            writes: Writes::of(request),
            tape: tape.clone(),
            phases: Arc::clone(&context.phases),
            grants: Grants::default(),
            powers: powers.acting_for(tenant, context),
            services: Arc::clone(services),
            table,
            wasi: wasi.build(),
            tenant: Arc::clone(tenant),
        }
    }

    pub(crate) fn locks(&mut self) -> Taped<'_, LocksView<'_>> {
        let observer = LocksObserver {
            service: &self.services.locks,
            tenant: &self.tenant,
            cause: &mut self.cause,
        };
        let view = LocksView {
            locks: &self.powers.locks,
            namespace: &self.tenant.namespace,
            leases: &mut self.leases,
            table: &mut self.table,
            observer,
        };
        Taped {
            tape: &self.tape,
            phases: &self.phases,
            grants: &mut self.grants,
            view,
        }
    }

    pub(crate) fn names(&mut self) -> Taped<'_, NamesView<'_>> {
        let view = NamesView {
            names: &*self.powers.names,
            service: &self.services.names,
            tenant: &self.tenant,
            phases: &self.phases,
            writes: &mut self.writes,
            leases: &mut self.leases,
            table: &mut self.table,
            received: &mut self.received,
            cause: &mut self.cause,
        };
        Taped {
            tape: &self.tape,
            phases: &self.phases,
            grants: &mut self.grants,
            view,
        }
    }

    pub(crate) fn settings(&mut self) -> SettingsView<'_> {
        SettingsView(&self.tenant.settings)
    }

    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// How many handles the guest holds.
    pub(crate) fn handles(&mut self) -> usize {
        self.table.iter_mut().count()
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
