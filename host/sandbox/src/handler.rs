//! One call of a tenant's component, from its beginning to its end, whichever way it ends.
//!
//! # The end of a call
//!
//! A call ends when the guest returns or traps, when it has run for its CPU time (the epoch's callback interrupts it), when
//! its wall time is over or a lease that it holds is lost (the future is dropped, in whatever host call it is), or when nobody waits
//! for it any more (this very future is dropped). After a trap nothing of the guest runs again, so its destructors release
//! nothing. Therefore the host keeps the leases itself, outside of the guest and of the table of handles:
//!
//! - at all ends but the last they are released here, before the answer is given, so that whoever gets the answer can have the name;
//! - at the last one they are dropped with the store, and the lock crate's reaper releases them;
//! - a host call that is pending when its future is dropped has recorded its claim before it asked, so the reaper finds out.
//!
//! The store goes with the call: no memory, table, global or handle is seen by the next.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use namelock_lock::{Lease, Locks};
use namelock_names::{Names, Registration};
use wasmtime::component::ResourceTableError;
use wasmtime::{CallHook, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use crate::bindings::RegistrarPre;
use crate::bindings::exports::namelock::registration::handler as wit;
use crate::config::Tenant;
use crate::error::{CallError, boxed};
use crate::locks::milliseconds;
use crate::long_run::LongRuns;
use crate::meter::Meter;
use crate::sandbox::Clock;
use crate::state::State;

/// The most of a handler's words that a caller is told.
const DETAIL_BYTES_MAX: usize = 1024;

/// How wasmtime begins to say that a guest has handed more bytes to the host than it may, and that it has asked for more random
/// bytes than it may. A test reaches each.
const HOST_BYTES_WORDS: &str = "too much data is being copied between the host and the guest";
const RANDOM_BYTES_WORDS: &str = "requested len ";

/// The two powers that a guest is given.
#[derive(Clone)]
pub struct Powers {
    /// Locks on names.
    pub locks: Locks,
    /// The names themselves.
    pub names: Arc<dyn Names>,
}

/// What a caller asks a handler to register.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name, unchanged.
    pub name: String,
    /// Who shall have it.
    pub owner: String,
    /// For how long, if the caller has a wish.
    pub lifetime: Option<Duration>,
    /// Whatever else the caller sent.
    pub attributes: Vec<(String, String)>,
}

/// A compiled component, ready for calls. Clones share it.
#[derive(Clone)]
pub struct Handler {
    pre: RegistrarPre<State>,
    clock: Arc<Clock>,
    long_runs: Arc<LongRuns>,
}

/// What a call wants of the handler.
enum Errand {
    Register(Request),
    Free { name: String, owner: String },
}

/// How the guest's future ended.
enum End {
    Ran(wasmtime::Result<Result<Option<wit::Registration>, wit::Rejection>>),
    LeaseLost,
    WallTime,
}

impl Handler {
    pub(crate) fn new(pre: RegistrarPre<State>, clock: Arc<Clock>, long_runs: Arc<LongRuns>) -> Self {
        Self { pre, clock, long_runs }
    }

    /// Runs the handler's `register`. What it returns is a registration that the database really gave to this call.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn register(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        request_id: &str,
        request: Request,
    ) -> Result<Registration, CallError> {
        match self.call(powers, tenant, request_id, Errand::Register(request)).await? {
            Some(registration) => Ok(registration),
            None => Err(CallError::Trapped(
                "the handler returned a registration that it was never given".into(),
            )),
        }
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
        request_id: &str,
        name: String,
        owner: String,
    ) -> Result<(), CallError> {
        self.call(powers, tenant, request_id, Errand::Free { name, owner })
            .await?;
        Ok(())
    }

    async fn call(
        &self,
        powers: &Powers,
        tenant: &Arc<Tenant>,
        request_id: &str,
        errand: Errand,
    ) -> Result<Option<Registration>, CallError> {
        let limits = &tenant.limits;
        let meter = Meter::default();
        let mut store = self.store(powers, tenant, request_id, &meter);
        let _ticking = self.clock.tick();
        let vigil = store.data().leases.vigil();
        let run = self.long_runs.gate(&tenant.id, &meter, self.run(&mut store, errand));
        let end = tokio::select! {
            // What is done is done, whatever else happened at the same time.
            biased;
            ended = run => End::Ran(ended),
            () = vigil.lost() => End::LeaseLost,
            () = tokio::time::sleep(limits.wall_time) => End::WallTime,
        };
        let leases: Vec<_> = store.data_mut().leases.take_all().collect();
        let outcome = match end {
            End::Ran(Ok(Ok(registration))) => {
                Ok(registration.and_then(|registration| store.data_mut().given(registration)))
            }
            End::Ran(Ok(Err(rejection))) => Err(rejected(rejection, store.data())),
            End::Ran(Err(error)) => {
                // To the tenant, whose code it is, with the names of its functions; a caller is told the code alone.
                tracing::warn!(target: "guest", tenant = &*tenant.id, request_id, "the call broke down: {error:#}");
                Err(broken(error, store.data()))
            }
            End::LeaseLost => Err(CallError::LeaseLost),
            End::WallTime => Err(CallError::Deadline {
                limit: "wall time",
                time: limits.wall_time,
            }),
        };
        // The instance's place is free for another before the network is waited for.
        drop(store);
        // All at once. Whether they were still held is of no use to a handler that has ended; when the lock service does not answer,
        // the lock crate goes on trying.
        join_all(leases.into_iter().map(Lease::release)).await;
        outcome
    }

    /// A store with its limits: nothing of a guest has run yet.
    fn store(&self, powers: &Powers, tenant: &Arc<Tenant>, request_id: &str, meter: &Meter) -> Store<State> {
        let limits = &tenant.limits;
        let mut store = Store::new(self.pre.engine(), State::new(powers, tenant, request_id));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.host_bytes);
        let mut host_calls_left = limits.host_calls;
        store.call_hook(move |_, hook| {
            if matches!(hook, CallHook::CallingHost) {
                host_calls_left = host_calls_left.checked_sub(1).ok_or(LimitReached("host_calls"))?;
            }
            Ok(())
        });
        store.set_epoch_deadline(1);
        let (meter, cpu_time) = (meter.clone(), limits.cpu_time);
        store.epoch_deadline_callback(move |_| {
            Ok(if meter.running() >= cpu_time {
                UpdateDeadline::Interrupt
            } else {
                // Ends this poll, so that others run; whether the call goes on at once is for its gate to say.
                UpdateDeadline::Yield(1)
            })
        });
        store
    }

    /// Instantiates the component and calls it. The outer error is a trap, the inner one the handler's rejection.
    async fn run(
        &self,
        store: &mut Store<State>,
        errand: Errand,
    ) -> wasmtime::Result<Result<Option<wit::Registration>, wit::Rejection>> {
        let registrar = self.pre.instantiate_async(&mut *store).await?;
        let handler = registrar.namelock_registration_handler();
        match errand {
            Errand::Register(request) => {
                let request = wit::Request {
                    name: request.name,
                    owner: request.owner,
                    lifetime_ms: request.lifetime.map(milliseconds),
                    attributes: request.attributes,
                };
                let answer = handler.call_register(store, &request).await?;
                Ok(answer.map(Some))
            }
            Errand::Free { name, owner } => {
                let answer = handler.call_free(store, &name, &owner).await?;
                Ok(answer.map(|()| None))
            }
        }
    }
}

/// What the handler refused, in its own words, which are a stranger's.
fn rejected(rejection: wit::Rejection, state: &State) -> CallError {
    match rejection {
        wit::Rejection::Invalid(detail) => CallError::Invalid(short(detail)),
        wit::Rejection::Taken => CallError::Taken,
        wit::Rejection::Busy(retry_after_ms) => CallError::Busy(Duration::from_millis(retry_after_ms)),
        wit::Rejection::Forbidden(detail) => CallError::Forbidden(short(detail)),
        wit::Rejection::Unavailable(detail) => CallError::Unavailable {
            detail: short(detail),
            cause: state.cause,
        },
    }
}

/// Why a call broke down.
fn broken(error: wasmtime::Error, state: &State) -> CallError {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return CallError::Overloaded;
    }
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
        return CallError::Deadline {
            limit: "CPU time",
            time: state.tenant.limits.cpu_time,
        };
    }
    if let Some(limit) = limit_reached(&error) {
        return CallError::Limit { limit };
    }
    if state.limiter.denied {
        return CallError::OutOfMemory(boxed(error));
    }
    CallError::Trapped(boxed(error))
}

/// Raised in a guest that has used up a limit of this name.
#[derive(Debug, thiserror::Error)]
#[error("the call used more {0} than it may")]
struct LimitReached(&'static str);

/// Which limit ended the call. Of two of them wasmtime has no type to ask for, only words.
fn limit_reached(error: &wasmtime::Error) -> Option<&'static str> {
    if let Some(LimitReached(limit)) = error.downcast_ref() {
        return Some(limit);
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return Some("handles");
    }
    error.chain().find_map(|cause| {
        let words = cause.to_string();
        if words.starts_with(HOST_BYTES_WORDS) {
            Some("host_bytes")
        } else if words.starts_with(RANDOM_BYTES_WORDS) {
            Some("random_bytes")
        } else {
            None
        }
    })
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}
