//! Callers, each of whom has one call after the other for some time.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;

use crate::fresh::Fresh;
use crate::reused::{Instance, Reused};

/// How a component is called.
pub enum Way {
    /// In a fresh instance for each call.
    Fresh(Fresh),
    /// In an instance that each caller has for itself.
    Reused(Reused),
}

/// All callers that there have been.
pub struct Callers {
    way: Way,
    idle: Vec<Caller>,
    /// How many of them there are, those who work included.
    made: usize,
}

/// What was done in some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// How long it took all of them together.
    pub took: Duration,
    /// How long each call took.
    pub times: Vec<Duration>,
    /// How many instances had to be made anew.
    pub renewed: u64,
}

struct Caller {
    number: usize,
    calls: u64,
    calls_into: Callee,
}

enum Callee {
    Fresh(Box<Fresh>),
    Reused(Box<Instance>),
}

impl Callers {
    /// None yet, of a component that is called this way.
    pub fn new(way: Way) -> Self {
        Self {
            way,
            idle: Vec::new(),
            made: 0,
        }
    }

    /// Lets so many of them work for some time. The first error of a call ends it.
    ///
    /// # Errors
    ///
    /// A call was answered wrongly, or an instance cannot be made.
    pub async fn work(&mut self, count: usize, time: Duration) -> anyhow::Result<Work> {
        while self.idle.len() < count {
            let caller = self.caller().await?;
            self.idle.push(caller);
        }
        let begin = Instant::now();
        let (mut tasks, end) = (JoinSet::new(), begin + time);
        for caller in self.idle.drain(..count) {
            tasks.spawn(caller.until(end));
        }
        let (mut times, mut renewed) = (Vec::new(), 0);
        while let Some(done) = tasks.join_next().await {
            let (mut caller, its_times) = done.context("a caller has panicked")??;
            times.extend(its_times);
            if let Callee::Reused(instance) = &mut caller.calls_into {
                renewed += instance.take_renewed();
            }
            self.idle.push(caller);
        }
        Ok(Work {
            took: begin.elapsed(),
            times,
            renewed,
        })
    }

    async fn caller(&mut self) -> anyhow::Result<Caller> {
        self.made += 1;
        Ok(Caller {
            number: self.made,
            calls: 0,
            calls_into: match &self.way {
                Way::Fresh(fresh) => Callee::Fresh(Box::new(fresh.clone())),
                Way::Reused(reused) => Callee::Reused(Box::new(reused.instance().await?)),
            },
        })
    }
}

impl Caller {
    async fn until(mut self, end: Instant) -> anyhow::Result<(Self, Vec<Duration>)> {
        let mut times = Vec::new();
        while Instant::now() < end {
            let begin = Instant::now();
            let name = format!("Blue Room {:03} {:09}", self.number, self.calls);
            match &mut self.calls_into {
                Callee::Fresh(fresh) => fresh.call(name).await?,
                Callee::Reused(instance) => instance.call(&name).await?,
            }
            times.push(begin.elapsed());
            self.calls += 1;
            // A call may never have to wait, and others want their turn.
            consume_budget().await;
        }
        Ok((self, times))
    }
}

impl Work {
    /// Writes it as `namelock-bench` reads it: a line with the time of all in nanoseconds, the count and how many instances were
    /// made anew; then 8 bytes for the time of each call, in nanoseconds.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { took, times, renewed } = self;
        writeln!(out, "{} {} {renewed}", took.as_nanos(), times.len())?;
        let ns = |time: &Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bytes: Vec<u8> = times.iter().flat_map(|time| ns(time).to_ne_bytes()).collect();
        out.write_all(&bytes)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_written_as_a_line_and_the_times() {
        let work = Work {
            took: Duration::from_micros(7),
            times: vec![Duration::from_nanos(3), Duration::from_nanos(256)],
            renewed: 1,
        };
        let mut out = Vec::new();
        work.write(&mut out).unwrap();
        let expected = [b"7000 2 1\n".as_slice(), &3_u64.to_ne_bytes(), &256_u64.to_ne_bytes()].concat();
        assert_eq!(out, expected);
    }
}
