//! The store of one call: it begins with its limits, and ends by giving its memory back.
//!
//! Dropping a store is work like running. What the guest wrote is cleared or returned to the kernel, which for 64 MiB
//! takes tens of milliseconds, so a call that had much memory waits for a permit for that too. A call that is dropped
//! because its caller hung up cannot wait: its store is then handed over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use namelock_account::{Counter, Level, Limit};
use scopeguard::ScopeGuard;
use wasmtime::{CallHook, Store, UpdateDeadline};

use crate::engine::KEEP_RESIDENT_BYTES;
use crate::epoch::EpochTicker;
use crate::long_run::{FREE, Kind, Place};
use crate::meter::Meter;
use crate::state::{Late, State};
use crate::trap::LimitReached;

/// How much memory a call may have had to be given back without a permit: what a slot keeps, and clears, is no long
/// run.
const LIGHT_BYTES: usize = KEEP_RESIDENT_BYTES;

/// How long a poll of a call may have run when its guest calls the host.
///
/// A guest is stopped after a tick where wasmtime checks the epoch: at the beginnings of functions and loops. Between two such
/// places it may call the host as often as its code is long, with a megabyte of text to check in each call. No compiler makes
/// such code, and nothing that a host call does at once takes as long as this.
const POLL_MAX: Duration = Duration::from_millis(20);

/// How many calls of the host a guest may make once it should have been stopped. What compilers make has a few between two
/// places where it can be stopped (to write a line, three). Those before the ticks do not count: on a busy machine the thread
/// that ticks may come late, and then tick several times while the guest's thread does not run.
const LATE_CALLS_MAX: u32 = 32;

/// How many ticks pass at most until a guest is stopped that can be, counted as the ticker does, which counts before it ticks.
const TICKS_UNTIL_STOPPED: u64 = 2;

/// How a call's store ends.
#[derive(Clone)]
pub(crate) struct StoreEnd {
    place: Place,
    meter: Meter,
    began: Instant,
}

/// The error that ends a guest which evades the end of its tick.
#[derive(Debug, thiserror::Error)]
#[error(
    "it called the host for {} ms without a function or a loop beginning in between, where it could be stopped",
    POLL_MAX.as_millis()
)]
pub(crate) struct Unstoppable;

/// Gives a store the limits of its call; nothing of a guest has run yet.
// Keeps P6: memory, bytes handed to the host, host calls and running time of a call are limited here.
pub(crate) fn limit(store: &mut Store<State>, meter: &Meter, ticker: &Arc<EpochTicker>) {
    let limits = &store.data().tenant.limits;
    let (host_bytes, host_calls, cpu_time) = (limits.host_bytes, limits.host_calls, limits.cpu_time);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(host_bytes);
    let (hooked, ticker) = (meter.clone(), Arc::clone(ticker));
    store.call_hook(move |mut store, hook| {
        if matches!(hook, CallHook::CallingHost) {
            let calls = &mut store.data_mut().host_calls;
            // One more passes: only afterwards it is known whether it is a tick of the epoch, which is no call of the
            // guest's.
            if *calls > host_calls {
                return Err(LimitReached(Limit::HostCalls).into());
            }
            *calls += 1;
            // A late call may be that of a tick, after something long that is no host call, such as filling memory. And on a
            // busy machine there may have been no tick yet. Two ticks later the guest would be stopped where it can be.
            let late = &mut store.data_mut().late;
            *late = match *late {
                _ if hooked.poll_ran() < POLL_MAX => None,
                None => Some(Late {
                    since: ticker.ticks(),
                    calls: 0,
                }),
                Some(late) if ticker.ticks() <= late.since + TICKS_UNTIL_STOPPED => Some(late),
                Some(late) if late.calls < LATE_CALLS_MAX => Some(Late {
                    calls: late.calls + 1,
                    ..late
                }),
                Some(_) => return Err(Unstoppable.into()),
            };
        }
        Ok(())
    });
    store.set_epoch_deadline(1);
    let meter = meter.clone();
    store.epoch_deadline_callback(move |mut store| {
        let state = store.data_mut();
        state.host_calls = state.host_calls.saturating_sub(1);
        state.late = None;
        let poll = meter.poll_ran();
        Ok(if meter.ran() + poll >= cpu_time {
            UpdateDeadline::Interrupt
        } else if poll < FREE {
            // The tick came while the call waited for the host, or just after. Whoever runs no longer than this takes no turn
            // from anybody, and a pass through the scheduler would cost more than what is left to do.
            UpdateDeadline::Continue(1)
        } else {
            // Ends this poll, so that others run; the gate decides whether the call goes on at once.
            meter.stop();
            UpdateDeadline::Yield(1)
        })
    });
}

impl StoreEnd {
    pub(crate) fn new(place: &Place, meter: &Meter) -> Self {
        Self {
            place: place.clone(),
            meter: meter.clone(),
            began: Instant::now(),
        }
    }

    /// Gives the memory of a store back when it is the call's turn. A store that nobody waits for any more, because the
    /// caller hung up, ends with [`now_or_later`](Self::now_or_later), which is what its guard does.
    // Keeps P6: giving memory back is metered, charged and gated as running is.
    pub(crate) async fn in_turn(self, store: ScopeGuard<Store<State>, impl FnOnce(Store<State>)>) {
        if is_light(&store) {
            return drop(store);
        }
        let permit = self.place.wait(Kind::LongRun).await;
        let mut store = ScopeGuard::into_inner(store);
        self.book(&mut store);
        self.place.give_back(store);
        drop(permit);
    }

    /// Gives the memory of a store back at once if that is no long run, otherwise when it is the call's turn.
    pub(crate) fn now_or_later(self, mut store: Store<State>) {
        self.book(&mut store);
        // Keeps P3: leases do not wait for their store; dropped, they are the reaper's.
        store.data_mut().leases.take_all().for_each(drop);
        drop(std::mem::take(&mut store.data_mut().writes.keep));
        if is_light(&store) {
            // By the clock on the wall, which costs less than this takes; it is too short to be interrupted often.
            let (account, began) = (Arc::clone(&store.data().tenant.account), Instant::now());
            drop(store);
            let took = began.elapsed();
            account.charge_time(Counter::HostNanos, took);
            self.place.ran(took, Duration::ZERO);
        } else {
            self.place.give_back_later(store);
        }
    }

    fn book(&self, store: &mut Store<State>) {
        store.data_mut().book(self.meter.ran(), self.began.elapsed());
    }
}

fn is_light(store: &Store<State>) -> bool {
    store.data().limiter.used() <= LIGHT_BYTES
}

impl State {
    /// Books how much of its limits the call has used.
    fn book(&mut self, ran: Duration, took: Duration) {
        let handles = self.handles();
        let (account, limits) = (&self.tenant.account, &self.tenant.limits);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        account.raise(Level::MemoryPeak, self.limiter.used() as u64);
        for (limit, used, max) in [
            (Limit::Memory, self.limiter.used() as u64, limits.memory as u64),
            (Limit::CpuTime, micros(ran), micros(limits.cpu_time)),
            (Limit::WallTime, micros(took), micros(limits.wall_time)),
            (Limit::Leases, self.leases.most() as u64, limits.leases as u64),
            (Limit::HostCalls, self.host_calls.into(), limits.host_calls.into()),
            (Limit::Handles, handles as u64, limits.handles as u64),
            (Limit::LogBytes, self.log.used() as u64, limits.log_bytes as u64),
            (Limit::Writes, self.writes.begun.into(), limits.writes.into()),
        ] {
            if used > 0 {
                account.note(limit, used, max);
            }
        }
        if self.limiter.denied {
            account.refuse(Limit::Memory);
        }
    }
}
