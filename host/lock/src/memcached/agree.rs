//! How a new connection agrees with its server on what holds for the whole fleet ([`super::fleet`]).
//!
//! It reads the item, judges it, writes it where that is to be done, and reads again, until what it reads can be used or
//! is refused. Every write is an add or a compare with the CAS that was read, so of several hosts one wins, and the others
//! judge what that one wrote.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::codec::{Command, Reply, Text, TextCommand};
use super::dial::Dialer;
use super::error::ConnectError;
use super::fleet::{FLEET, List, Value, Verdict};
use super::health::Found;
use super::membership::Fleet;
use super::punctual::Punctual;
use super::wire::{CommandError, Wire};
use crate::config::{COARSE_CLOCK, LockConfig};

/// An item that is made to learn how far the server has counted.
const COUNT: &str = "namelock:@fleet:count";

/// The name under which epochs are asked for that belong to no server.
const SOURCE_NAME: &str = "@fleet";

/// How often a host tries to tell another server what has changed, when others write there too.
const TELL_MAX: usize = 3;

/// What agreeing needs.
pub(super) struct Agreement<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) server: &'a str,
    pub(super) config: &'a LockConfig,
    pub(super) epochs: &'a Punctual<'a>,
    pub(super) fleet: &'a Fleet,
    pub(super) found: Found,
}

/// What this host and its server agree on.
pub(super) struct Agreed {
    pub(super) value: Value,
    pub(super) cas: u64,
}

/// An item as it was read.
struct Item {
    text: Text,
    value: Value,
}

impl Agreement<'_> {
    /// Its caller bounds the time.
    pub(super) async fn reach(mut self) -> Result<Agreed, ConnectError> {
        loop {
            let item = match read(self.wire).await {
                Ok(item) => item,
                Err(ConnectError::Fleet(reason)) => return self.refuse(None, reason),
                Err(error) => return Err(error),
            };
            let newest = self.fleet.newest(self.server);
            let read_base = item.as_ref().map(|item| item.value.base);
            let value = match (&item, newest) {
                // What this host knows to be its server's was lost, and a host that differs came first.
                (Some(item), _) if self.fleet.is_usurped(self.server, &item.value) => {
                    let ours = self
                        .fleet
                        .known(self.server)
                        .unwrap_or_else(|| self.fleet.first_value());
                    let value = Value {
                        base: self.begin().await?,
                        waits: true,
                        ..ours
                    };
                    self.write(Some(item), value).await?;
                    continue;
                }
                (None, Some(newest)) => newest,
                (Some(item), Some(newest)) if newest.replaces(&item.value) => newest,
                (Some(item), _) => item.value.clone(),
                (None, _) => {
                    let first = Value {
                        waits: !self.is_new(),
                        ..self.fleet.first_value()
                    };
                    self.write(None, first).await?;
                    continue;
                }
            };
            if let Some(reason) = self.fleet.differs(&value) {
                return self.refuse(Some(value), reason);
            }
            let next = match self.fleet.lists.judge(&value.lists) {
                Verdict::Announce => {
                    let announced = Value {
                        base: self.begin().await?,
                        ..self.fleet.first_value()
                    };
                    self.tell_others(&self.fleet.lists.all(), &announced).await;
                    announced
                }
                Verdict::Finish => {
                    let finished = self.finished(&value).await?;
                    if let Some(previous) = &finished.from {
                        self.tell_others(previous, &finished).await;
                    }
                    // Its base comes after what the others have granted meanwhile.
                    self.finished(&value).await?
                }
                // Refused above, unless that is removed.
                Verdict::Use | Verdict::Refuse => match item {
                    Some(item) if read_base == Some(value.base) => return Ok(self.accept(item)),
                    _ => Value {
                        waits: self.waits(item.as_ref(), &value),
                        ..value
                    },
                },
            };
            self.write(item.as_ref(), next).await?;
        }
    }

    fn accept(&self, item: Item) -> Agreed {
        let age = Duration::from_secs(item.text.age.into()).saturating_sub(COARSE_CLOCK);
        self.fleet
            .record(self.server, &item.value, self.fleet.grace.saturating_sub(age));
        Agreed {
            value: item.value,
            cas: item.text.cas,
        }
    }

    fn refuse(&self, value: Option<Value>, reason: String) -> Result<Agreed, ConnectError> {
        self.fleet.record_refusal(self.server, value, &reason);
        Err(ConnectError::Fleet(reason))
    }

    /// Whether nobody can have had another value on this server.
    fn is_new(&self) -> bool {
        let is_young = Duration::from_secs(self.found.age.into()) <= self.config.connect_timeout + COARSE_CLOCK;
        self.found.is_first && is_young
    }

    /// Whether nothing may be granted for a while once this value is where there was none, or an older one.
    fn waits(&self, before: Option<&Item>, value: &Value) -> bool {
        match before {
            // Hosts with the list from before know of the change; or what has moved waits anyway.
            Some(item) => {
                let before = item.value.lists.in_force();
                value.lists.previous.is_none() && value.from.as_ref() != Some(before) && value.lists.current != *before
            }
            None => {
                let known = self.fleet.known(self.server);
                !self.is_new() && known.is_none_or(|known| known.base != value.base)
            }
        }
    }

    async fn begin(&self) -> Result<u64, ConnectError> {
        let new = self.epochs.begin(SOURCE_NAME).await;
        Ok(new.map_err(ConnectError::Epochs)?.epoch)
    }

    async fn finished(&self, announced: &Value) -> Result<Value, ConnectError> {
        Ok(Value {
            from: announced.lists.previous.clone(),
            base: self.begin().await?,
            ..self.fleet.first_value()
        })
    }

    /// Tells the other servers of `list` what holds from now on. When a change is finished these are those of the list
    /// from before, so that hosts which still know that list alone stop before anybody else begins.
    async fn tell_others(&self, list: &List, value: &Value) {
        let deadline = Instant::now() + self.config.connect_timeout / 2;
        let mut tasks = JoinSet::new();
        for server in list.servers().filter(|server| *server != self.server) {
            let (server, value, dialer) = (server.to_owned(), value.clone(), Arc::clone(&self.fleet.dialer));
            tasks.spawn(async move {
                let told = timeout_at(deadline, tell(&dialer, deadline, &server, &value)).await;
                if let Err(error) = told.unwrap_or(Err(ConnectError::Timeout)) {
                    tracing::warn!(
                        server,
                        %error,
                        "cannot tell memcached of the change of the list of servers; a host that reaches nothing but it \
                         and still has the list from before would go on"
                    );
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn write(&mut self, before: Option<&Item>, value: Value) -> Result<(), ConnectError> {
        tracing::info!(
            server = self.server,
            list = %value.lists,
            times = %value.times,
            "memcached is told what holds for the whole fleet"
        );
        write(self.wire, before, value).await
    }
}

/// Writes `value` on a server that this host has no lane to.
async fn tell(dialer: &Dialer, deadline: Instant, server: &str, value: &Value) -> Result<(), ConnectError> {
    let mut wire = dialer.dial(server, deadline).await?;
    for _ in 0..TELL_MAX {
        let item = read(&mut wire).await?;
        if let Some(Item { value: before, .. }) = &item
            && !value.replaces(before)
        {
            return Ok(());
        }
        write(&mut wire, item.as_ref(), value.clone()).await?;
    }
    Ok(())
}

async fn read(wire: &mut Wire) -> Result<Option<Item>, ConnectError> {
    let Some(text) = wire.text(FLEET, TextCommand::Look).await? else {
        return Ok(None);
    };
    match text.value.parse() {
        Ok(value) => Ok(Some(Item { text, value })),
        Err(()) => Err(ConnectError::Fleet(format!(
            "this version cannot read the item {FLEET}: {:?}; delete it if it is not namelock's: nothing is granted for a \
             grace period then",
            text.value
        ))),
    }
}

async fn write(wire: &mut Wire, before: Option<&Item>, value: Value) -> Result<(), ConnectError> {
    let value = Value {
        counted: counted(wire).await?,
        ..value
    };
    let text = value.to_string();
    let command = match before {
        None => TextCommand::Add(&text),
        Some(item) => TextCommand::Replace {
            text: &text,
            cas: item.text.cas,
        },
    };
    wire.text(FLEET, command).await?;
    Ok(())
}

/// A CAS that every later grant is above.
async fn counted(wire: &mut Wire) -> Result<u64, ConnectError> {
    let make = Command::Add {
        ttl_seconds: 1,
        value: 0,
    };
    let mut outcomes = Vec::new();
    wire.exchange(&[(COUNT, make), (COUNT, Command::LookAtCas)], &mut outcomes)
        .await?;
    match outcomes.pop() {
        Some(Ok(Reply::Done { cas })) => Ok(cas),
        Some(Err(CommandError::OutOfMemory)) => Err(ConnectError::NoRoom),
        // It has just expired, or there is no room for it.
        _ if outcomes.iter().any(Result::is_err) => Err(ConnectError::NoRoom),
        _ => Err(ConnectError::Changing),
    }
}
