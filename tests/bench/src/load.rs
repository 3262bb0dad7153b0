//! Callers over HTTP/1.1, each with a connection that it keeps as long as the server does.
//!
//! They share one thread of their own: what they cost, the servers lack. Connections are made anew for each round,
//! before it begins, because a server ends those that are idle for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::closed_loop::Work;
use crate::contest::Contestant;
use crate::http::Client;
use crate::one_thread::OneThread;

/// Numbers all rounds of all callers, so that no name is registered twice.
static ROUND: AtomicU64 = AtomicU64::new(0);

/// How far from each other callers begin to go round the paths: a prime, so that it is no divisor of how many there are.
const APART: usize = 7919;

/// Numbers all names that are spread.
static SPREAD: AtomicU64 = AtomicU64::new(0);

/// Callers of one server.
pub(crate) struct Load {
    address: SocketAddr,
    /// Where names are registered. Each caller goes round all of them.
    paths: Arc<[String]>,
    names: Names,
    connections: usize,
    /// How much is asked for; none: whoever has its answer asks again.
    per_second: Option<f64>,
    thread: OneThread,
}

/// What names are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Each caller numbers its own, so that a database finds the next one beside the last.
    Numbered,
    /// Anywhere among all that begin with digits, each of one of [`OWNERS`] owners.
    Spread,
}

/// How many owners there are of names that are spread.
pub(crate) const OWNERS: u64 = 1000;

/// How many hexadecimal digits a name has that is spread.
pub(crate) const SPREAD_DIGITS: u32 = 15;

/// When each of a number of requests is due, and the turns of those that are.
struct Schedule {
    begin: Instant,
    every: Duration,
    count: usize,
    /// The first request that nobody has taken yet.
    next: AtomicUsize,
    /// As many permits as requests are due and not sent.
    due: Semaphore,
}

impl Load {
    /// Each caller asks again when it has its answer.
    pub(crate) fn closed_loop(address: SocketAddr, path: &str, connections: usize) -> anyhow::Result<Self> {
        Self::new(address, path, connections, None)
    }

    /// Requests are due at a fixed rate, whether the ones before are answered or not, and each counts from when it was
    /// due.
    pub(crate) fn at_rate(
        address: SocketAddr,
        path: &str,
        connections: usize,
        per_second: f64,
    ) -> anyhow::Result<Self> {
        ensure!(per_second >= 1.0, "{per_second} requests a second are no rate");
        Self::new(address, path, connections, Some(per_second))
    }

    fn new(address: SocketAddr, path: &str, connections: usize, per_second: Option<f64>) -> anyhow::Result<Self> {
        Ok(Self {
            address,
            paths: [path.to_owned()].into(),
            names: Names::Numbered,
            connections,
            per_second,
            thread: OneThread::new()?,
        })
    }

    /// Goes round these paths, and none else.
    pub(crate) fn through(self, paths: impl IntoIterator<Item = String>) -> Self {
        Self {
            paths: paths.into_iter().collect(),
            ..self
        }
    }

    /// Names are anywhere among those that are there, and not beside the one before.
    pub(crate) fn spread(self) -> Self {
        Self {
            names: Names::Spread,
            ..self
        }
    }

    async fn run(&self, time: Duration) -> anyhow::Result<Work> {
        let round = ROUND.fetch_add(1, Relaxed);
        let mut callers = Vec::new();
        for number in 0..self.connections {
            callers.push(Caller {
                client: Client::connect(self.address).await?,
                paths: Arc::clone(&self.paths),
                names: self.names,
                round,
                number,
                times: Vec::new(),
            });
        }
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        let mut pacer = None;
        if let Some(per_second) = self.per_second {
            let schedule = Arc::new(Schedule::new(begin, per_second, time));
            for caller in callers {
                tasks.spawn(caller.at_rate(Arc::clone(&schedule)));
            }
            pacer = Some(thread::spawn(move || schedule.keep()));
        } else {
            for caller in callers {
                tasks.spawn(caller.closed_loop(begin + time));
            }
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        let took = begin.elapsed();
        // It ended with the last request.
        pacer.map(thread::JoinHandle::join);
        Ok(Work::new(times, took))
    }
}

#[async_trait]
impl Contestant for Load {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        self.thread.run(self.run(time))
    }
}

struct Caller {
    client: Client,
    paths: Arc<[String]>,
    names: Names,
    round: u64,
    number: usize,
    times: Vec<Duration>,
}

impl Caller {
    async fn closed_loop(mut self, end: Instant) -> anyhow::Result<Vec<Duration>> {
        while Instant::now() < end {
            let begin = Instant::now();
            self.register().await?;
            self.times.push(begin.elapsed());
        }
        Ok(self.times)
    }

    async fn at_rate(mut self, schedule: Arc<Schedule>) -> anyhow::Result<Vec<Duration>> {
        while let Some(due) = schedule.take().await? {
            self.register().await?;
            self.times.push(due.elapsed());
        }
        Ok(self.times)
    }

    async fn register(&mut self) -> anyhow::Result<()> {
        let count = self.times.len();
        let body = match self.names {
            Names::Numbered => format!(
                "{{\"name\":\"{} {} {count}\",\"owner\":\"ann\"}}",
                self.round, self.number
            ),
            Names::Spread => {
                let number = SPREAD.fetch_add(1, Relaxed);
                let owner = number % OWNERS;
                format!("{{\"name\":\"{}\",\"owner\":\"owner {owner}\"}}", spread(number))
            }
        };
        // Callers begin at different places, so that they do not go round together.
        let path = &self.paths[(self.number * APART + count) % self.paths.len()];
        let (status, answer) = self.client.ask(path, &body).await?;
        ensure!(status == 201, "a registration was answered {status}: {answer}");
        Ok(())
    }
}

/// Puts numbers that follow each other into names that do not (the finalizer of SplitMix64, which maps no two to one).
fn spread(number: u64) -> String {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    format!("{:015x}", mixed >> (64 - 4 * SPREAD_DIGITS))
}

impl Schedule {
    /// All requests of some time.
    fn new(begin: Instant, per_second: f64, time: Duration) -> Self {
        Self {
            begin,
            every: Duration::from_secs_f64(per_second.recip()),
            count: (per_second * time.as_secs_f64()).round() as usize,
            next: AtomicUsize::new(0),
            due: Semaphore::new(0),
        }
    }

    fn due(&self, number: usize) -> Instant {
        self.begin + self.every.mul_f64(number as f64)
    }

    /// Gives each request its turn when it is due. This is a thread because the timers of tokio are a millisecond
    /// coarse.
    fn keep(&self) {
        for number in 0..self.count {
            thread::sleep(self.due(number).saturating_duration_since(Instant::now()));
            self.due.add_permits(1);
        }
    }

    /// Waits for the next request that nobody has taken, and tells when it was due. None: all have been taken.
    async fn take(&self) -> anyhow::Result<Option<Instant>> {
        let number = self.next.fetch_add(1, Relaxed);
        if number >= self.count {
            return Ok(None);
        }
        self.due.acquire().await?.forget();
        Ok(Some(self.due(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_of_a_schedule_is_taken_once_and_not_before_it_is_due() {
        let schedule = Arc::new(Schedule::new(Instant::now(), 500.0, Duration::from_millis(100)));
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let schedule = Arc::clone(&schedule);
            callers.spawn(async move {
                let mut taken = Vec::new();
                while let Some(due) = schedule.take().await.unwrap() {
                    taken.push((due, Instant::now()));
                }
                taken
            });
        }
        let pacer = thread::spawn({
            let schedule = Arc::clone(&schedule);
            move || schedule.keep()
        });
        let mut taken = callers.join_all().await.concat();
        pacer.join().unwrap();
        taken.sort_unstable();
        let due: Vec<_> = taken.iter().map(|(due, _)| *due - schedule.begin).collect();
        let expected: Vec<_> = (0..50).map(|number| Duration::from_millis(2) * number).collect();
        assert_eq!(due, expected);
        // Whose turn it is may be another one's than that of the first who was due, but there are never more turns than
        // that.
        let mut sent: Vec<_> = taken.iter().map(|(_, sent)| *sent).collect();
        sent.sort_unstable();
        assert!(taken.iter().zip(sent).all(|((due, _), sent)| sent >= *due));
    }

    #[test]
    fn names_that_are_spread_are_all_different_and_anywhere() {
        let names: std::collections::BTreeSet<_> = (0..10_000).map(spread).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| name.len() == SPREAD_DIGITS as usize));
        let first: std::collections::BTreeSet<_> = names.iter().map(|name| &name[..2]).collect();
        assert_eq!(first.len(), 256);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waits_for_a_slow_server_counts_from_when_it_was_due() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        // Ten are due within 100 ms, and one connection does them in 200 ms or more.
        let mut load = Load::at_rate(address, "/", 1, 100.0).unwrap();
        let work = load.work(Duration::from_millis(100)).await.unwrap();
        assert_eq!(work.times.len(), 10);
        let longest = work.times.iter().max().unwrap();
        assert!(*longest >= Duration::from_millis(200 - 90), "{longest:?}");
        assert!(work.took >= Duration::from_millis(200), "{:?}", work.took);
    }
}
