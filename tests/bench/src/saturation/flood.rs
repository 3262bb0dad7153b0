//! Callers that ask for more than there is, and come again at once when they are refused, whatever they are told.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::bail;
use async_trait::async_trait;
use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};

use super::connection::Connection;
use super::{LOST, MOST_MEMORY, NOT_SENT, REFUSAL_P99, REFUSED};
use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::memory::Watch;
use crate::one_thread::OneThread;

/// Numbers all names, so that none is registered twice.
static NAME: AtomicU64 = AtomicU64::new(0);

/// How long a request that is due may wait for a connection that is free. One that waits for longer is not sent.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long the host rests after a round. Then everybody has been refused who was kept waiting, which takes a second at most,
/// and it has noticed that the connections are gone: of one address it takes no more than a share of all that it may have.
const REST: Duration = Duration::from_millis(1200);

/// The longest refusal that is told from a longer one, in microseconds: a minute.
const LONGEST_US: u64 = 60_000_000;

/// Callers of one host.
pub(super) struct Flood {
    address: SocketAddr,
    path: String,
    /// The process of the host, whose memory is watched.
    host: u32,
    connections: usize,
    /// How much is asked for; none: whoever has its answer asks again.
    per_second: Option<f64>,
    thread: OneThread,
}

/// What a round brings.
struct Tally {
    served: Vec<Duration>,
    /// In microseconds.
    refused: Histogram<u64>,
    /// Requests whose connection the host closed instead of an answer.
    lost: u64,
}

/// When requests are due.
struct Schedule {
    begin: Instant,
    end: Instant,
    per_second: Option<f64>,
    /// The first request that was neither sent nor given up.
    next: Cell<u64>,
    given_up: Cell<u64>,
}

impl Flood {
    pub(super) fn of(
        host: (SocketAddr, u32),
        path: String,
        connections: usize,
        per_second: Option<f64>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            address: host.0,
            path,
            host: host.1,
            connections,
            per_second,
            thread: OneThread::new()?,
        })
    }

    async fn run(&self, time: Duration) -> anyhow::Result<Work> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(self.address, &self.path).await?);
        }
        let begin = Instant::now();
        let schedule = Rc::new(Schedule::of(self.per_second, begin, time));
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let call_until_the_end = async {
            let mut callers = JoinSet::new();
            for connection in connections {
                callers.spawn_local(call(connection, Rc::clone(&schedule), Rc::clone(&tally)));
            }
            // Nobody ends by itself but with an error.
            match tokio::time::timeout_at(schedule.end.into(), callers.join_next()).await {
                Ok(Some(ended)) => ended?,
                Ok(None) | Err(_) => Ok(()),
            }
        };
        LocalSet::new().run_until(call_until_the_end).await?;
        Ok(tally.borrow_mut().sum_up(&schedule))
    }
}

#[async_trait]
impl Contestant for Flood {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        let watch = Watch::begin(self.host);
        let mut work = self.thread.run(self.run(time))?;
        work.also.insert(MOST_MEMORY, watch.end()?);
        tokio::time::sleep(REST).await;
        Ok(work)
    }
}

/// Asks again and again, until it is dropped.
async fn call(mut connection: Connection, schedule: Rc<Schedule>, tally: Rc<RefCell<Tally>>) -> anyhow::Result<()> {
    loop {
        let due = schedule.take().await;
        let sent = Instant::now();
        let status = connection.register(NAME.fetch_add(1, Relaxed)).await?;
        let mut tally = tally.borrow_mut();
        match status {
            Some(201) => tally.served.push(due.elapsed()),
            Some(429 | 503) => {
                let us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                tally.refused.saturating_record(us);
            }
            Some(status) => bail!("a registration was answered {status}"),
            None => tally.lost += 1,
        }
    }
}

impl Schedule {
    fn of(per_second: Option<f64>, begin: Instant, time: Duration) -> Self {
        Self {
            begin,
            end: begin + time,
            per_second,
            next: Cell::new(0),
            given_up: Cell::new(0),
        }
    }

    /// Waits until a request is due that nobody has taken, and tells since when it is.
    async fn take(&self) -> Instant {
        let now = Instant::now();
        let Some(per_second) = self.per_second else {
            return now;
        };
        let late = now.saturating_duration_since(self.begin).saturating_sub(PATIENCE);
        let too_old = (late.as_secs_f64() * per_second) as u64;
        let next = self.next.get();
        self.given_up.set(self.given_up.get() + too_old.saturating_sub(next));
        let number = next.max(too_old);
        self.next.set(number + 1);
        let due = self.begin + Duration::from_secs_f64(number as f64 / per_second);
        if due > now {
            tokio::time::sleep_until(due.into()).await;
        }
        due
    }

    /// How many requests were due and not sent: those that were given up, and those that nobody has taken.
    fn not_sent(&self) -> Option<u64> {
        let all = self.per_second? * (self.end - self.begin).as_secs_f64();
        Some(self.given_up.get() + (all as u64).saturating_sub(self.next.get()))
    }
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            served: Vec::new(),
            refused: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
            lost: 0,
        })
    }

    /// What was answered within the time counts, so that nobody gains by answering late.
    fn sum_up(&mut self, schedule: &Schedule) -> Work {
        let time = schedule.end - schedule.begin;
        let a_second = |count: u64| count as f64 / time.as_secs_f64();
        let mut work = Work::new(std::mem::take(&mut self.served), time);
        work.also.insert(REFUSED, a_second(self.refused.len()));
        if !self.refused.is_empty() {
            let p99 = self.refused.value_at_quantile(0.99) as f64 / 1e3;
            work.also.insert(REFUSAL_P99, p99);
        }
        work.also.insert(LOST, a_second(self.lost));
        if let Some(not_sent) = schedule.not_sent() {
            work.also.insert(NOT_SENT, a_second(not_sent));
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_waits_too_long_for_a_connection_is_not_sent() {
        let begin = Instant::now();
        // One each millisecond.
        let schedule = Schedule::of(
            Some(1000.0),
            begin - Duration::from_millis(100),
            Duration::from_millis(200),
        );
        let first = schedule.take().await;
        // Those of the first 90 ms are too old by now.
        let age = begin.saturating_duration_since(first);
        assert!(
            (Duration::from_millis(9)..=Duration::from_millis(10)).contains(&age),
            "{age:?}"
        );
        assert_eq!(schedule.given_up.get(), 90);
        assert_eq!(schedule.take().await - first, Duration::from_millis(1));
        assert_eq!(schedule.not_sent(), Some(200 - 2), "nobody has taken the rest");
        assert_eq!(Schedule::of(None, begin, Duration::from_secs(1)).not_sent(), None);
    }
}
