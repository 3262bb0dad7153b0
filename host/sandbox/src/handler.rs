//! One call of a tenant's component, from its beginning to its end, whichever way it ends.
//!
//! # The end of a call
//!
//! A call ends
//!
//! - when the guest returns or traps;
//! - when it has run for its CPU time: the epoch's callback interrupts it;
//! - when its wall time is over or a lease that it holds is lost: its future is dropped, in whatever host call it is;
//! - when nobody waits for it any more: this very future is dropped.
//!
//! After a trap nothing of the guest runs again, so its destructors release nothing. Therefore the host keeps the
//! leases itself, outside of the guest and of its table of handles (`leases`):
//!
//! - in all cases but the last they are released here, before the answer is given, so that whoever gets the answer can
//!   have the name;
//! - in the last one they are dropped with the store, and the lock crate's reaper releases them;
//! - a host call that is pending when its future is dropped has recorded its claim before it sent its request, so the
//!   reaper resolves it.
//!
//! The store is dropped at the end of the call (`store`): the next one sees none of its memories, tables, globals or
//! handles.

use std::sync::Arc;

use futures_util::future::join_all;
use namelock_account::{Account, Counter, Limit};
use namelock_lock::Lease;
use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime::error::Context as _;

use crate::cache::Digest;
use crate::config::Tenant;
use crate::database_time::DatabaseTime;
use crate::epoch::EpochTicker;
use crate::error::{CallError, Cause};
use crate::long_run::{LongRuns, Place};
use crate::meter::{Meter, metered};
use crate::phases::{Phase, Phases};
use crate::powers::Powers;
use crate::recording::{Over, Recording, Tape, Why};
use crate::rejection::Rejection;
use crate::request::{Context, Repeatable, Request, UpdateRequest, Written};
use crate::service::Services;
use crate::state::State;
use crate::store::{self, StoreEnd, Unstoppable};
use crate::taping::{self, Operation, Origin};
use crate::trap;
use crate::wit::bindings::RegistrarIndices;
use crate::wit::bindings::exports::namelock::registration::handler as wit;
use crate::wit::bindings::updating::UpdatesAloneIndices;
use crate::wit::bindings::updating::exports::namelock::registration::updates;
use namelock_types::milliseconds;

/// A compiled component, ready for calls. Clones share it.
#[derive(Clone)]
pub struct Handler {
    pre: InstancePre<State>,
    registrar: RegistrarIndices,
    /// None where the component does not export `updates`.
    updates: Option<UpdatesAloneIndices>,
    ticker: Arc<EpochTicker>,
    long_runs: Arc<LongRuns>,
    services: Arc<Services>,
    origin: Origin,
    /// On in a clone for one call alone.
    tape: Tape,
}

/// How the guest's future ended.
enum End {
    Ran(wasmtime::Result<Result<Option<wit::Registration>, Rejection>>),
    LeaseLost,
    WallTime,
    Replayed(Over),
}

impl Handler {
    pub(crate) fn new(
        pre: InstancePre<State>,
        registrar: RegistrarIndices,
        updates: Option<UpdatesAloneIndices>,
        ticker: Arc<EpochTicker>,
        long_runs: Arc<LongRuns>,
        services: Arc<Services>,
        origin: Origin,
    ) -> Self {
        Self {
            pre,
            registrar,
            updates,
            ticker,
            long_runs,
            services,
            origin,
            tape: Tape::default(),
        }
    }

    /// The handler for one call, which this tape records or answers.
    #[must_use]
    pub fn taped(&self, tape: &Tape) -> Self {
        Self {
            tape: tape.clone(),
            ..self.clone()
        }
    }

    /// The digest of the component.
    pub fn digest(&self) -> Digest {
        self.origin.digest
    }

    /// Runs the handler's `register`, and returns a registration that the database really gave to this call. `repeatable` is a
    /// request that may be sent again.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn register(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        context: &Context,
        request: Request,
        repeatable: Option<Repeatable>,
    ) -> Result<Written, CallError> {
        let operation = Operation::Register(request);
        written(self.call(powers, tenant, context, Some(operation), repeatable).await?)
    }

    /// Whether the component lets registrations be changed.
    pub fn lets_update(&self) -> bool {
        self.updates.is_some()
    }

    /// Runs the handler's `update`, as [`register`](Self::register) does its function.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; it is [`CallError::Unsupported`] if the component does not export it.
    pub async fn update(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        context: &Context,
        request: UpdateRequest,
        repeatable: Option<Repeatable>,
    ) -> Result<Written, CallError> {
        if !self.lets_update() {
            return Err(CallError::Unsupported);
        }
        let operation = Operation::Update(request);
        written(self.call(powers, tenant, context, Some(operation), repeatable).await?)
    }

    /// Runs the handler's `free`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn free(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        context: &Context,
        name: String,
        owner: String,
    ) -> Result<(), CallError> {
        let operation = Operation::Free { name, owner };
        self.call(powers, tenant, context, Some(operation), None).await?;
        Ok(())
    }

    /// Instantiates the component and calls nothing of it, so that one whose start breaks down is known before it is called.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn instantiate(&self, powers: &Powers, tenant: &Arc<Tenant>, context: &Context) -> Result<(), CallError> {
        self.call(powers, tenant, context, None, None).await?;
        Ok(())
    }

    /// Runs a recorded call again. A tape should answer it ([`taped`](Self::taped)), and then no service is asked.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn replay(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        recording: &Recording,
    ) -> Result<Option<Written>, CallError> {
        let operation = Operation::from(recording.request.clone());
        if matches!(operation, Operation::Update(_)) && !self.lets_update() {
            return Err(CallError::Unsupported);
        }
        let frees = matches!(operation, Operation::Free { .. });
        let context = Context::new(&*recording.request_id);
        let ended = self.call(powers, tenant, &context, Some(operation), None).await?;
        if frees {
            return Ok(None);
        }
        written(ended).map(Some)
    }

    /// Does work for a tenant that is no call of its handler, and books it as one: who has let the host run for long
    /// waits for a permit for this too. The work must be short.
    // Keeps P6: what a tenant's callers send costs the host time, and the tenant pays for it.
    pub async fn on_behalf<T>(&self, account: &Arc<Account>, work: impl FnOnce() -> T) -> T {
        self.long_runs.place(account).run(work).await
    }

    /// Without an operation the component is instantiated, and nothing of it is called.
    async fn call(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        context: &Context,
        operation: Option<Operation>,
        repeatable: Option<Repeatable>,
    ) -> Result<Option<Written>, CallError> {
        let (limits, phases) = (&tenant.limits, &context.phases);
        phases.enter(Phase::Instantiate);
        let tape = &self.tape;
        if let Some(operation) = &operation {
            let (id, keyed) = (&context.request_id, repeatable.is_some());
            tape.begin(|| taping::about(self.origin, tenant, id, operation, keyed));
        }
        let meter = Meter::default();
        let place = self.long_runs.place(&tenant.account);
        let mut store = Store::new(
            self.pre.engine(),
            State::new(powers, &self.services, tenant, context, repeatable, tape),
        );
        store::limit(&mut store, &meter, &self.ticker);
        let end = StoreEnd::new(&place, &meter);
        let mut store = scopeguard::guard(store, {
            let end = end.clone();
            move |store| end.now_or_later(store)
        });
        let _ticking = self.ticker.tick();
        let lease_watch = store.data().leases.watch();
        let run = place.gate(&meter, self.run(&mut store, operation, phases));
        let ended = tokio::select! {
            // A call that has ended counts as ended, whatever else happened at the same time.
            biased;
            ended = run => End::Ran(ended),
            over = tape.over() => End::Replayed(over),
            () = lease_watch.lost() => End::LeaseLost,
            () = tokio::time::sleep(limits.wall_time) => End::WallTime,
        };
        phases.enter(Phase::Release);
        if tape.is_on() {
            // What the guest has begun to write belongs to it too.
            store.data().log.end();
        }
        if let Some(why) = ended_by_host(&ended) {
            tape.ended(why);
        }
        let leases: Vec<_> = store.data_mut().leases.take_all().collect();
        let outcome = match ended {
            End::Ran(Ok(Ok(registration))) => {
                let confirmed = registration.and_then(|registration| store.data().received.confirm(registration));
                Ok(confirmed.map(|registration| Written {
                    registration,
                    replayed: false,
                }))
            }
            End::Ran(Ok(Err(rejection))) => Err(rejection.error(store.data())),
            End::Ran(Err(error)) => {
                if error.downcast_ref::<Unstoppable>().is_some() {
                    place.penalize();
                }
                Err(broke_down(&error, store.data(), &place))
            }
            End::LeaseLost => Err(CallError::LeaseLost),
            End::WallTime => {
                tenant.account.refuse(Limit::WallTime);
                Err(taping::wall_time_over(tenant))
            }
            End::Replayed(over) => Err(taping::replay_over(over, tenant)),
        };
        let writes = &mut store.data_mut().writes;
        let (unwritten, past_request) = (writes.unwritten_request(), std::mem::take(&mut writes.past_request));
        // What is still undecided keeps it itself.
        drop(std::mem::take(&mut writes.keep));
        // Keeps P3: however the guest ended, its leases are released before the answer is given. All at once: whether
        // they were still held is of no use to a handler that has ended, and when the lock service does not answer, the
        // lock crate goes on trying. Nor do they wait until it is the tenant's turn to give memory back.
        tokio::join!(end.in_turn(store), join_all(leases.into_iter().map(Lease::release)));
        phases.enter(Phase::Answer);
        let past = match (&outcome, unwritten) {
            // What was sent before may have been done while this call ran, and the handler has refused it because of itself.
            (Err(error), Some(request)) if error.is_rejection() => {
                let _time = DatabaseTime::begin(&tenant.account, phases, Phase::Find);
                powers.names.find_request(&tenant.id, request).await
            }
            _ => Ok(past_request),
        };
        let past = taping::past(tape, past).map_err(|_| CallError::Unavailable {
            // A refusal would be final, and may be wrong.
            detail: "it cannot be told whether the request was done before".to_owned(),
            cause: Some(Cause::NamesUnavailable),
        });
        // The database knows better than the handler can what has become of the request.
        let outcome = past.and_then(Written::before).and_then(|before| match before {
            Some(written) => Ok(Some(written)),
            None => outcome,
        });
        taping::outcome(tape, &outcome);
        outcome
    }

    /// Instantiates the component and calls it. The outer error is a trap, the inner one the handler's rejection.
    async fn run(
        &self,
        store: &mut Store<State>,
        operation: Option<Operation>,
        phases: &Phases,
    ) -> wasmtime::Result<Result<Option<wit::Registration>, Rejection>> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        phases.enter(Phase::Guest);
        let Some(operation) = operation else {
            return Ok(Ok(None));
        };
        match operation {
            Operation::Register(request) => {
                let registrar = self.registrar.load(&mut *store, &instance)?;
                let request = wit::Request {
                    name: request.name,
                    owner: request.owner,
                    lifetime_ms: request.lifetime.map(milliseconds),
                    attributes: request.attributes,
                };
                let handler = registrar.namelock_registration_handler();
                let answer = handler.call_register(store, &request).await?;
                Ok(answer.map(Some).map_err(Rejection::OfHandler))
            }
            Operation::Update(request) => {
                let updates = self.updates.as_ref().context("the component does not export updates")?;
                let updates = updates.load(&mut *store, &instance)?;
                let request = updates::Request {
                    name: request.name,
                    owner: request.owner,
                    change: request.change.into(),
                };
                let updates = updates.namelock_registration_updates();
                let answer = updates.call_update(store, &request).await?;
                Ok(answer.map(Some).map_err(Rejection::OfUpdates))
            }
            Operation::Free { name, owner } => {
                let registrar = self.registrar.load(&mut *store, &instance)?;
                let handler = registrar.namelock_registration_handler();
                let answer = handler.call_free(store, &name, &owner).await?;
                Ok(answer.map(|()| None).map_err(Rejection::OfHandler))
            }
        }
    }
}

/// Why the host ended a call, if it is not something that the guest did.
fn ended_by_host(end: &End) -> Option<Why> {
    match end {
        End::LeaseLost => Some(Why::LeaseLost),
        End::WallTime => Some(Why::WallTime),
        End::Ran(Err(error)) => taping::time_over(error),
        End::Ran(Ok(_)) | End::Replayed(_) => None,
    }
}

fn written(written: Option<Written>) -> Result<Written, CallError> {
    let made_up = "the handler returned a registration that the database never gave to this call";
    written.ok_or_else(|| CallError::Trapped(made_up.into()))
}

/// Tells why a call broke down, also the tenant: its log gets the names of its functions, because the code is the
/// tenant's. A caller gets only the error code, and the host's own log one line without them.
fn broke_down(error: &wasmtime::Error, state: &State, place: &Place) -> CallError {
    let told = trap::call_error(error, state);
    // A call that never began has nothing to tell.
    if !matches!(told, CallError::Overloaded) {
        let (text, took) = metered(|| trap::describe(error));
        state.log.warn(&format!("the call broke down: {text}"));
        state.tape.broke_down(&text);
        state.tenant.account.charge_time(Counter::HostNanos, took);
        place.ran(took, took);
    }
    told
}
