//! When a host leaves a name to another host that waits for it.
//!
//! Among the callers of one host a name is handed on at once ([`crate::local_queue`]). A caller of another host has to
//! look for the moment in which it is free, and would hardly ever find one. So the hosts take turns:
//!
//! - A host that waits leaves a *mark* beside the lock, an item of its own. It carries the host's *place*: the CAS that
//!   the lock had when the host began to wait. memcached counts CAS up, so places are in the order in which the hosts
//!   began to wait, by no host's clock. The smallest place takes the mark over from any greater one.
//! - A host that was granted a name begins a *run*. Until [`RUN`] has passed it goes on as if it were alone. The next
//!   caller looks for a mark first. If there is none, another run begins. If there is one, the host leaves the name
//!   alone for as long as the other one needs to find it free ([`patience`]), and waits itself like any other host.
//! - A host that has seen a name wanted elsewhere looks before it takes, for [`MEMORY`]: whoever finds the name free
//!   and the mark of a host with a smaller place leaves it alone. That host looks often, because its pauses are a part
//!   of the time for which it has seen the lock held ([`pause_after`]).
//!
//! A caller that does not wait leaves no mark, and is told that the name is busy while its host leaves the name to
//! another one. So callers that ask again and again without waiting do not starve those that wait.
//!
//! Fairness costs nothing where it is not needed: a host that alone wants a name looks once in each [`RUN`] that its
//! callers fill without a gap, and never otherwise.
//!
//! # How long a caller waits
//!
//! Let `p` be the caller's position in the queue of its host, counted from 1, `H` the number of hosts that want the name,
//! and `h` the longest time from one grant to the next of the same host. The caller waits for `p` grants of its host.
//! They are interrupted once at first, when the caller comes at the end of a run, and then once in every [`RUN`] that
//! they fill. In an interruption every other host has at most one run, for its place is greater afterwards; a run lasts
//! at most `RUN + h`, and each next host finds the name within `patience(h)`. So the caller waits at most
//!
//! ```text
//! p * h + (1 + p * h / RUN, rounded down) * ((H - 1) * (RUN + h) + H * patience(h))
//! patience(h) = 2 * clamp(h / 4, 10 ms, 250 ms) + 10 ms
//! ```
//!
//! That is 0.2 s for the only caller of a host beside one other, with holds of 20 ms. It holds while memcached and the
//! waiting host do what they do within a few milliseconds, and longer by
//!
//! - one run of a host that asks for the name for the first time in [`MEMORY`] and finds it free just then;
//! - the time to live of a mark (3 s) for each host that went away with the smallest place;
//! - whatever other programs do that use the key, such as the Python idiom: they know nothing of marks.
//!
//! Nothing depends on a mark but who is next. It may be missing, stale, evicted or written by two hosts at once: then
//! the order is another one for a while, and the lock is what it was.
//!
//! Keeps P6: what is remembered of names has a fixed size; when it is too small, who has waited for longest may lose its
//! place.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::grant::{HeldLock, Mark, MarkChange, Place, Sight};
use crate::key::LockKey;

#[cfg(test)]
mod tests;

/// For how long a host goes on by itself with a name that another host may wait for. The next one costs a few
/// milliseconds in which nobody has the name, so this is much longer; and a caller elsewhere waits for it, so it is
/// much shorter than what callers wait for.
const RUN: Duration = Duration::from_millis(100);

/// How long a caller pauses before it looks for the first time, before it looks again while locks are held for a short
/// time, and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_SHORT: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What a pause may be too long by: the exchanges with the server, and timers.
const SLACK: Duration = Duration::from_millis(10);

/// For how long a host remembers that a name was wanted elsewhere, and which place it has itself. As long as a mark.
const MEMORY: Duration = Duration::from_secs(3);

/// How many names are remembered: so many sets, and so many names in each.
const SETS: usize = 1024;
const WAYS: usize = 4;

/// What this host remembers of names, so that it is fair to other hosts.
pub(crate) struct Fairness {
    /// Tells this host's places from those of others that began to wait for the same lock.
    host: u16,
    hasher: RandomState,
    sets: Box<[Mutex<[Option<Entry>; WAYS]>]>,
}

/// What is to be done next about a name.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask for the lock, and take this mark of ours away; but leave it again if the lock is not granted.
    Take { mark: Option<Mark> },
    /// Wait, or give up. The lock that is held may last for this long.
    Wait {
        remaining: Option<Duration>,
        change: Option<MarkChange>,
    },
}

/// What is remembered of one name.
#[derive(Debug)]
struct Entry {
    name: u64,
    used: Instant,
    run: Option<Run>,
    contest: Option<Contest>,
}

/// The grants of a name to this host, one after the other.
#[derive(Debug)]
struct Run {
    began: Instant,
    /// When the last grant was.
    granted: Instant,
    /// When the last lock was given back, and how long it was held; none while it is held.
    released: Option<(Instant, Duration)>,
}

/// What was seen of a name that another host wants too.
#[derive(Debug)]
struct Contest {
    seen: Instant,
    /// The place of this host, if it waits.
    place: Option<Place>,
    /// The CAS of the lock that was held at the last look, and since when it was seen.
    held: Option<(u64, Instant)>,
    /// Since when the name was seen free, though another host is to have it.
    free_since: Option<Instant>,
}

/// How long a host pauses that has seen the same lock held for this long.
fn pause_after(seen: Duration) -> Duration {
    (seen / 4).clamp(PAUSE_SHORT, PAUSE_MAX)
}

/// For how long a host leaves a free name alone whose lock was held for this long: no other host can have seen it held
/// for longer, so each has looked by then.
fn patience(hold: Duration) -> Duration {
    pause_after(hold) * 2 + SLACK
}

impl Fairness {
    /// Tells whether to look at the name before it is taken.
    pub(crate) fn must_look(&self, key: &LockKey, now: Instant) -> bool {
        self.find(key, |entry| {
            let is_contested = entry.contest.as_ref().is_some_and(|contest| contest.is_fresh(now));
            let is_over = |run: &Run| run.goes_on(now) && now.duration_since(run.began) >= RUN;
            is_contested || entry.run.as_ref().is_some_and(is_over)
        })
        .unwrap_or(false)
    }

    /// Decides what a look at the name means for a caller, which may still wait or not.
    pub(crate) fn decide(&self, key: &LockKey, sight: &Sight, waits: bool, now: Instant) -> Step {
        self.with(key, now, |entry| match sight.held {
            Some(held) => Step::Wait {
                remaining: held.remaining,
                change: entry.held_elsewhere(held, sight.mark, waits.then_some(self.host), now),
            },
            None => entry.found_free(sight.mark, now),
        })
    }

    /// Records that the lock was not granted because somebody else has it.
    pub(crate) fn refused(&self, key: &LockKey, now: Instant) {
        self.with(key, now, |entry| {
            entry.run = None;
            entry.contest(now);
        });
    }

    /// Records that the lock was granted.
    pub(crate) fn granted(&self, key: &LockKey, now: Instant) {
        self.with(key, now, |entry| {
            entry.contest = None;
            let began = entry.run.as_ref().filter(|run| run.goes_on(now)).map(|run| run.began);
            entry.run = Some(Run {
                began: began.unwrap_or(now),
                granted: now,
                released: None,
            });
        });
    }

    /// Records that the lock was given back, if it had been granted.
    pub(crate) fn released(&self, key: &LockKey, now: Instant) {
        self.find(key, |entry| {
            if let Some(run) = &mut entry.run
                && run.released.is_none()
            {
                run.released = Some((now, now.duration_since(run.granted)));
            }
        });
    }

    /// How long a caller pauses that has looked so many times.
    pub(crate) fn pause(&self, key: &LockKey, looks: u32, now: Instant) -> Duration {
        let held = self.find(key, |entry| entry.contest.as_ref().and_then(|contest| contest.held));
        let seen = held
            .flatten()
            .map_or(Duration::ZERO, |(_, since)| now.duration_since(since));
        let first = PAUSE_FIRST * 2_u32.pow(looks.min(8));
        // Jittered, so that several hosts do not look in step.
        first.min(pause_after(seen)).mul_f64(rand::random_range(0.75..1.0))
    }

    /// Goes to what is remembered of a name, if anything is.
    fn find<T>(&self, key: &LockKey, work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let name = self.hasher.hash_one(key);
        let mut set = self.set(name).lock();
        set.iter_mut().flatten().find(|entry| entry.name == name).map(work)
    }

    /// Goes to what is remembered of a name. For a new one another is forgotten: the one that was used least lately,
    /// but rather one that no other host wants.
    fn with<T>(&self, key: &LockKey, now: Instant, work: impl FnOnce(&mut Entry) -> T) -> T {
        let name = self.hasher.hash_one(key);
        let mut set = self.set(name).lock();
        let at = match set
            .iter()
            .position(|entry| entry.as_ref().is_some_and(|entry| entry.name == name))
        {
            Some(at) => at,
            None => {
                let rank = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.rank(now));
                (0..WAYS).min_by_key(|at| rank(&set[*at])).unwrap_or(0)
            }
        };
        let entry = set[at].take_if(|entry| entry.name == name);
        let entry = set[at].insert(entry.unwrap_or_else(|| Entry::new(name, now)));
        entry.used = now;
        work(entry)
    }

    fn set(&self, name: u64) -> &Mutex<[Option<Entry>; WAYS]> {
        &self.sets[usize::try_from(name % SETS as u64).unwrap_or(0)]
    }
}

impl Entry {
    fn new(name: u64, now: Instant) -> Self {
        Self {
            name,
            used: now,
            run: None,
            contest: None,
        }
    }

    /// The entry with the smallest rank is forgotten first.
    fn rank(&self, now: Instant) -> (bool, Instant) {
        let is_contested = self.contest.as_ref().is_some_and(|contest| contest.is_fresh(now));
        (is_contested, self.used)
    }

    /// What is known of other hosts, who want the name now.
    fn contest(&mut self, now: Instant) -> &mut Contest {
        let contest = self.contest.take().filter(|contest| contest.is_fresh(now));
        let contest = self.contest.insert(contest.unwrap_or_else(|| Contest::new(now)));
        contest.seen = now;
        contest
    }

    /// Somebody else has the lock. A host that waits, whose number is given, leaves its mark or keeps it.
    fn held_elsewhere(
        &mut self,
        held: HeldLock,
        mark: Option<Mark>,
        waiting_host: Option<u16>,
        now: Instant,
    ) -> Option<MarkChange> {
        self.run = None;
        let contest = self.contest(now);
        contest.free_since = None;
        if contest.held.is_none_or(|(cas, _)| cas != held.cas) {
            contest.held = Some((held.cas, now));
        }
        // The smallest that was seen: after a restart memcached counts from 1 again.
        let here = Place::new(held.cas, waiting_host?);
        let place = contest.place.map_or(here, |place| place.min(here));
        contest.place = Some(place);
        match mark {
            None => Some(MarkChange::Leave(place)),
            Some(mark) if mark.place == place => mark.fades.then_some(MarkChange::Keep(mark.version)),
            Some(mark) if mark.place > place => Some(MarkChange::Replace(mark.version, place)),
            Some(_) => None,
        }
    }

    /// Nobody has the lock. It is left to a host with a smaller place, but not for ever: that one may be gone.
    fn found_free(&mut self, mark: Option<Mark>, now: Instant) -> Step {
        let place = self.contest.as_ref().and_then(|contest| contest.place);
        let is_ahead = |mark: &Mark| place.is_none_or(|place| mark.place < place);
        let mark = match mark {
            Some(mark) if is_ahead(&mark) => {
                let since = *self.contest(now).free_since.get_or_insert(now);
                let is_gone = match &self.run {
                    Some(run) => !run.goes_on(now),
                    // How long it was held is not known.
                    None => now.duration_since(since) >= patience(Duration::MAX),
                };
                if !is_gone {
                    return Step::Wait {
                        remaining: None,
                        change: None,
                    };
                }
                None
            }
            mark => mark.filter(|mark| Some(mark.place) == place),
        };
        // What is granted now begins another run.
        self.run = None;
        Step::Take { mark }
    }
}

impl Run {
    /// Whether the next grant belongs to this run: after a longer pause, any other host had its chance.
    fn goes_on(&self, now: Instant) -> bool {
        self.released
            .is_none_or(|(at, hold)| now.duration_since(at) < patience(hold))
    }
}

impl Contest {
    fn new(now: Instant) -> Self {
        Self {
            seen: now,
            place: None,
            held: None,
            free_since: None,
        }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.seen) < MEMORY
    }
}

impl Default for Fairness {
    fn default() -> Self {
        Self {
            host: rand::random(),
            hasher: RandomState::new(),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl std::fmt::Debug for Fairness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fairness")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
