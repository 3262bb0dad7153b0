//! Whether writes may be sent: what is known of those that were.
//!
//! A commit waits for a synchronous standby where no timeout of the server reaches it, and asking the server to cancel
//! makes the commit succeed without the standby. So when that standby is gone, each write that is sent keeps a
//! connection of the server until the standby is back. This is the circuit breaker for it:
//!
//! - **Closed**: writes are sent, at most `max` at once, which leaves connections to those who read.
//! - **Half-open**, from the start of the host and whenever a write is overdue and none that was sent after it has
//!   committed: one write at a time is sent, the probe. As long as none is overdue the others wait for it; otherwise they
//!   are refused at once. So a host that is started again and again during an outage adds one connection each time.
//! - A commit closes it, of whichever write. A write that has changed nothing proves nothing: it does not wait for a
//!   standby.
//!
//! A probe that is not answered may be stuck alone, so another one follows, after a pause that doubles each time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How many times as long as an answer may take a probe is waited for before the next is sent.
const PROBE_PAUSE: u32 = 10;

/// What is known of the writes of this process.
pub(super) struct Writes {
    /// How many may be under way at once.
    max: usize,
    /// How long an answer may take.
    deadline: Duration,
    is_closed: bool,
    under_way: usize,
    /// How many were sent; the next one's number.
    sent: u64,
    /// The greatest number of a write that has committed.
    committed: Option<u64>,
    /// When each write was sent that is not answered although it should be, by its number.
    overdue: BTreeMap<u64, Instant>,
    /// How many were ever among them.
    unanswered: u64,
    /// How many of those under way began while it was half-open.
    probes: u32,
    /// When the last of them began.
    last_probe: Instant,
}

/// A write under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    is_probe: bool,
    /// Its number once it is sent, and when that was.
    sent: Option<(u64, Instant)>,
}

/// What a write may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Begin,
    Wait,
    Refused(Unanswered),
}

/// Why writes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "writes are refused: {writes} of them are unanswered, the first for {} s; PostgreSQL does not answer, or its synchronous standby is gone",
    .longest.as_secs()
)]
pub(super) struct Unanswered {
    /// How many are overdue.
    pub(super) writes: usize,
    /// How long ago the first of them was sent.
    pub(super) longest: Duration,
}

impl Writes {
    /// Begins half-open: nothing is known.
    pub(super) fn new(max: usize, deadline: Duration) -> Self {
        Self {
            max,
            deadline,
            is_closed: false,
            under_way: 0,
            sent: 0,
            committed: None,
            overdue: BTreeMap::new(),
            unanswered: 0,
            probes: 0,
            last_probe: Instant::now(),
        }
    }

    /// How many writes are overdue now, and how many ever were.
    pub(super) fn overdue(&self) -> (usize, u64) {
        (self.overdue.len(), self.unanswered)
    }

    // Keeps P7: what would most likely not be answered is refused at once.
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let has_room = self.under_way < self.max;
        if has_room && (self.is_closed || self.may_probe(now)) {
            return Verdict::Begin;
        }
        match self.overdue.values().min() {
            Some(first) if !self.is_closed => Verdict::Refused(Unanswered {
                writes: self.overdue.len(),
                longest: now.saturating_duration_since(*first),
            }),
            _ => Verdict::Wait,
        }
    }

    fn may_probe(&self, now: Instant) -> bool {
        let Some(doublings) = self.probes.checked_sub(1) else {
            return true;
        };
        let pause = self
            .deadline
            .saturating_mul(PROBE_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)));
        now.saturating_duration_since(self.last_probe) >= pause
    }

    /// A write begins that may.
    pub(super) fn begin(&mut self, now: Instant) -> Write {
        self.under_way += 1;
        let is_probe = !self.is_closed;
        if is_probe {
            self.probes += 1;
            self.last_probe = now;
        }
        Write { is_probe, sent: None }
    }

    /// It is about to be sent.
    pub(super) fn send(&mut self, write: &mut Write, now: Instant) {
        write.sent = Some((self.sent, now));
        self.sent += 1;
    }

    /// It should have been answered by now. Returns what is known if it is the first of which that is to be told.
    pub(super) fn note_overdue(&mut self, write: Write, now: Instant) -> Option<Unanswered> {
        let (number, sent) = write.sent?;
        self.overdue.insert(number, sent);
        self.unanswered += 1;
        let opens = self.is_closed && self.committed.is_none_or(|committed| committed < number);
        self.is_closed &= !opens;
        let is_first = opens || (!self.is_closed && self.overdue.len() == 1);
        is_first.then(|| Unanswered {
            writes: self.overdue.len(),
            longest: now.saturating_duration_since(sent),
        })
    }

    /// It has committed a change. Returns whether the breaker closes with it.
    pub(super) fn note_commit(&mut self, write: Write) -> bool {
        self.committed = self.committed.max(write.sent.map(|(number, _)| number));
        !std::mem::replace(&mut self.is_closed, true)
    }

    /// It is under way no longer: it was answered, was never sent, or its connection is closed.
    pub(super) fn end(&mut self, write: Write) {
        self.under_way -= 1;
        self.probes -= u32::from(write.is_probe);
        if let Some((number, _)) = write.sent {
            self.overdue.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(2);

    /// Sends a write that may begin.
    #[track_caller]
    fn send(writes: &mut Writes, now: Instant) -> Write {
        assert_eq!(writes.verdict(now), Verdict::Begin);
        let mut write = writes.begin(now);
        writes.send(&mut write, now);
        write
    }

    fn commit(writes: &mut Writes, write: Write) -> bool {
        let closes = writes.note_commit(write);
        writes.end(write);
        closes
    }

    fn is_refused(writes: &Writes, now: Instant) -> bool {
        matches!(writes.verdict(now), Verdict::Refused(_))
    }

    #[test]
    fn one_write_goes_first_and_its_commit_lets_the_others_go() {
        let now = Instant::now();
        let mut writes = Writes::new(3, DEADLINE);
        let first = send(&mut writes, now);
        assert_eq!(writes.verdict(now), Verdict::Wait);
        // It changed nothing, which proves nothing.
        writes.end(first);
        let second = send(&mut writes, now);
        assert_eq!(writes.verdict(now), Verdict::Wait);
        assert!(commit(&mut writes, second));
        for _ in 0..3 {
            send(&mut writes, now);
        }
        assert_eq!(writes.verdict(now), Verdict::Wait, "no more than the maximum");
    }

    #[test]
    fn an_overdue_write_lets_one_probe_through_and_refuses_the_others() {
        let now = Instant::now();
        let mut writes = Writes::new(9, DEADLINE);
        let first = send(&mut writes, now);
        assert!(commit(&mut writes, first));
        let stuck = [send(&mut writes, now), send(&mut writes, now)];
        let later = now + DEADLINE;
        assert!(writes.note_overdue(stuck[0], later).is_some());
        assert!(writes.note_overdue(stuck[1], later).is_none(), "it is told once");
        assert_eq!(writes.overdue(), (2, 2));
        let probe = send(&mut writes, later);
        let Verdict::Refused(refused) = writes.verdict(later) else {
            panic!("there is a probe")
        };
        assert_eq!(
            refused.to_string(),
            "writes are refused: 2 of them are unanswered, the first for 2 s; PostgreSQL does not answer, or its synchronous standby is gone"
        );
        assert!(commit(&mut writes, probe));
        assert_eq!(writes.verdict(later), Verdict::Begin);
    }

    #[test]
    fn a_write_that_is_stuck_alone_refuses_none() {
        let now = Instant::now();
        let mut writes = Writes::new(9, DEADLINE);
        let first = send(&mut writes, now);
        commit(&mut writes, first);
        let stuck = send(&mut writes, now);
        let other = send(&mut writes, now);
        commit(&mut writes, other);
        assert!(writes.note_overdue(stuck, now + DEADLINE).is_none());
        assert_eq!(writes.verdict(now + DEADLINE), Verdict::Begin);
    }

    #[test]
    fn a_commit_of_the_writes_that_were_overdue_lets_the_others_go_again() {
        let now = Instant::now();
        let mut writes = Writes::new(9, DEADLINE);
        let stuck = send(&mut writes, now);
        assert!(
            writes.note_overdue(stuck, now + DEADLINE).is_some(),
            "it was never closed"
        );
        assert!(is_refused(&writes, now + DEADLINE));
        assert!(commit(&mut writes, stuck));
        assert_eq!(writes.verdict(now), Verdict::Begin);
        assert_eq!(writes.overdue(), (0, 1), "it is counted still");
    }

    #[test]
    fn overdue_writes_whose_connections_are_closed_are_forgotten() {
        let now = Instant::now();
        let mut writes = Writes::new(9, DEADLINE);
        let stuck = send(&mut writes, now);
        writes.note_overdue(stuck, now + DEADLINE);
        writes.end(stuck);
        send(&mut writes, now + DEADLINE);
        assert_eq!(writes.verdict(now + DEADLINE), Verdict::Wait, "for the probe");
    }

    #[test]
    fn probes_follow_each_other_ever_more_slowly_and_are_no_more_than_the_maximum() {
        let begin = Instant::now();
        let mut writes = Writes::new(4, DEADLINE);
        let mut sent = Vec::new();
        for second in 0..3600 {
            let now = begin + Duration::from_secs(second);
            if writes.verdict(now) == Verdict::Begin {
                let write = send(&mut writes, now);
                writes.note_overdue(write, now);
                sent.push(second);
            }
        }
        assert_eq!(sent, [0, 20, 60, 140]);
    }
}
