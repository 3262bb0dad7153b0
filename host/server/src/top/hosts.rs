//! Asks the hosts, each in a thread of its own, so that one that does not answer keeps neither the others nor the keys.
//!
//! A thread asks its host, hands on what it says, and waits until the next question is due. The threads are not joined: one that waits
//! for an answer would keep an operator who wants to go. They end with the process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::answer::{Overview, Plain};
use crate::operate::{Access, AskError, Question, ask, encoded};

/// However often something changes that is asked for, a host is not asked more often than that, or than `--every` says.
const SOONEST: Duration = Duration::from_secs(1);

/// How much news may wait to be read; who has more to tell waits.
const NEWS_MAX: usize = 128;

/// The most rows that one host is asked for, and the fewest; in between, the more hosts the fewer, because all of them are read.
const ROWS: (usize, usize) = (500, 50);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How the ids of tenants begin.
    pub(super) tenant: String,
    /// The order of tenants, as hosts call it.
    pub(super) sort: &'static str,
    /// Whether the names of locks are asked for, too.
    pub(super) names: bool,
    /// How many hosts there are.
    pub(super) hosts: usize,
}

/// What has come from a host.
#[derive(Debug)]
pub(super) enum News {
    Answered {
        host: usize,
        overview: Box<Overview>,
    },
    Failed {
        host: usize,
        reason: Plain,
    },
    /// What came of the end of a lease.
    Ended(Result<Plain, Plain>),
}

/// The hosts that are asked.
pub(super) struct Hosts {
    addresses: Vec<SocketAddr>,
    access: Arc<Access>,
    state: Arc<State>,
    sender: SyncSender<News>,
    news: Receiver<News>,
}

/// What the threads share.
struct State {
    asked: Mutex<Asked>,
    changed: Condvar,
}

struct Asked {
    wanted: Wanted,
    paused: bool,
    /// Changes with what is wanted: then the next question does not wait for its time.
    number: u64,
}

impl Wanted {
    fn rows(&self) -> usize {
        (2_000 / self.hosts.max(1)).clamp(ROWS.1, ROWS.0)
    }

    fn overview(&self) -> Question {
        let (tenant, sort, limit) = (encoded(&self.tenant), self.sort, self.rows());
        get(format!("/overview?tenant={tenant}&sort={sort}&limit={limit}"))
    }
}

fn get(path: String) -> Question {
    Question {
        method: "GET",
        path,
        body: None,
    }
}

/// Asks one host once.
pub(super) fn look(host: SocketAddr, access: &Access, wanted: &Wanted) -> Result<Overview, AskError> {
    let unread = |error: serde_json::Error| {
        AskError::Unreached(io::Error::other(format!(
            "its answer is not what a host of this version answers: {error}"
        )))
    };
    let mut overview = Overview::read(&ask(host, access, &wanted.overview())?).map_err(unread)?;
    if wanted.names {
        // The oldest first, so that those of the overview are among them unless there are very many.
        let named = ask(host, access, &get("/locks?names=true&limit=10000".to_owned()));
        // Names are for some operators only; the rest is for all.
        let named = named.and_then(|names| overview.name_locks(&names).map_err(unread));
        overview.nameless = named.err().map(|error| Plain::new(&error.to_string()));
    }
    Ok(overview)
}

impl Hosts {
    /// Begins to ask.
    pub(super) fn start(
        addresses: Vec<SocketAddr>,
        access: Access,
        wanted: Wanted,
        every: Duration,
    ) -> io::Result<Self> {
        let (sender, news) = sync_channel(NEWS_MAX);
        let asked = Asked {
            wanted,
            paused: false,
            number: 0,
        };
        let all = Self {
            addresses,
            access: Arc::new(access),
            state: Arc::new(State {
                asked: Mutex::new(asked),
                changed: Condvar::new(),
            }),
            sender,
            news,
        };
        for (host, address) in all.addresses.iter().enumerate() {
            let (address, sender) = (*address, all.sender.clone());
            let (access, state) = (Arc::clone(&all.access), Arc::clone(&all.state));
            thread::Builder::new()
                .name(format!("asks {address}"))
                .spawn(move || keep_asking(host, address, &access, &state, &sender, every))?;
        }
        Ok(all)
    }

    /// Changes what is asked for from now on.
    pub(super) fn want(&self, wanted: &Wanted, paused: bool) {
        let mut asked = self.state.asked.lock();
        if asked.wanted != *wanted || asked.paused != paused {
            asked.wanted = wanted.clone();
            asked.paused = paused;
            asked.number += 1;
            self.state.changed.notify_all();
        }
    }

    /// Has all hosts asked as soon as they may be.
    pub(super) fn refresh(&self) {
        self.state.asked.lock().number += 1;
        self.state.changed.notify_all();
    }

    /// What has come since this was called last.
    pub(super) fn news(&self) -> impl Iterator<Item = News> {
        self.news.try_iter()
    }

    /// Ends a lease; what came of it is news.
    pub(super) fn end_lease(&self, host: usize, id: u64) -> io::Result<()> {
        let Some(address) = self.addresses.get(host).copied() else {
            return Ok(());
        };
        let (access, sender) = (Arc::clone(&self.access), self.sender.clone());
        let thread = thread::Builder::new().name(format!("ends lease {id}"));
        thread.spawn(move || {
            let question = Question {
                method: "DELETE",
                path: format!("/locks/{id}"),
                body: None,
            };
            let ended = match ask(address, &access, &question) {
                Ok(_) => Ok(Plain::new(&format!("the lease {id} at {address} was ended"))),
                Err(error) => Err(Plain::new(&format!(
                    "the lease {id} at {address} was not ended: {error}"
                ))),
            };
            // Nobody listens any more once the process is ending.
            let _ = sender.send(News::Ended(ended));
        })?;
        Ok(())
    }
}

fn keep_asking(
    host: usize,
    address: SocketAddr,
    access: &Access,
    state: &State,
    sender: &SyncSender<News>,
    every: Duration,
) {
    loop {
        let (wanted, number) = {
            let mut asked = state.asked.lock();
            while asked.paused {
                state.changed.wait(&mut asked);
            }
            (asked.wanted.clone(), asked.number)
        };
        let began = Instant::now();
        let news = match look(address, access, &wanted) {
            Ok(overview) => News::Answered {
                host,
                overview: Box::new(overview),
            },
            Err(error) => News::Failed {
                host,
                reason: Plain::new(&error.to_string()),
            },
        };
        if sender.send(news).is_err() {
            return;
        }
        let mut asked = state.asked.lock();
        let due = |asked: &Asked| {
            let pause = if asked.number == number {
                every
            } else {
                every.min(SOONEST)
            };
            began + pause
        };
        while Instant::now() < due(&asked) {
            let until = due(&asked);
            state.changed.wait_until(&mut asked, until);
        }
    }
}
