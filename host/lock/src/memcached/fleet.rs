//! What all hosts of a fleet must agree on, and how the list of servers is changed while they run.
//!
//! Hosts find the server of a name by themselves, from the list of servers ([`super::rendezvous`]). Two hosts with
//! different lists lock some names on different servers, and then both have them: `localhost:1` and `127.0.0.1:1` are
//! enough. And how long a host waits before a forgotten lock is granted again must cover the leases of all others. So
//! each server carries an item, `namelock:@fleet`, that says what holds for the whole fleet: the list, the lease, the
//! grace period and the time to live. It never expires. A host compares it with its own configuration when it connects
//! ([`super::agree`], [`super::membership`]), and each batch looks whether it is still the same. A host that differs
//! grants nothing, from any server, is not ready, and says what differs.
//!
//! # Changing the list
//!
//! From a list X to a list Y, while the fleet runs:
//!
//! 1. Each host in turn is given Y with X as the *previous* list. Such a host locks a name that has another server in Y
//!    than in X on both, all or nothing. So it excludes hosts that know only X, and hosts that know only Y. It announces
//!    the change: the value becomes *X, then Y*, which hosts with X alone accept.
//! 2. When every host has both lists, each in turn is given Y alone. The first one finishes the change: the value becomes
//!    *Y, from X*, first on the servers of X, then on the others. A host that still knows X alone finds that its list is
//!    not named any more, and grants nothing from then on. Its leases last for at most a grace period, and for as long
//!    a host with Y alone does not grant the names that have moved. Hosts with both lists need not wait.
//!
//! What a host does, by its own lists and by the value that it finds:
//!
//! | found \ own | X | Y after X | Y |
//! |---|---|---|---|
//! | X | use | announce | refuse |
//! | X, then Y | use | use | finish |
//! | Y, or Y from X | refuse | use | use |
//! | Y, then X | finish | use | use |
//! | X, then Z | use | announce | refuse |
//! | Z, then X | finish | refuse | refuse |
//! | any other | refuse | refuse | refuse |
//!
//! Where *X, then Z* was announced and given up, every host that may grant locks on X too, so another change may begin.
//! Where *Z, then X* is not finished, hosts with Z alone may grant, and lock nothing on X; so that comes first.
//!
//! Before the last step, going back is to give every host X alone again: *X, then Y* names it. Afterwards it is a change
//! like any other.
//!
//! # Servers that were not told
//!
//! A value has a *base*: an epoch ([`crate::epochs`]) that was given when the value was announced or finished, or 0.
//! Where the servers of a host differ, the greatest base is the fleet's, and the others get it. So a server that was down
//! during a change is told by whoever connects to it first and knows better; one that was restarted has no item, and
//! gets what the others have. (A value that has nothing to do with this fleet's is left alone, and refused: the server
//! is in use by another fleet.) A first value, with the base 0, is made by whoever comes first. In an epoch that is not
//! the server's first, others may have had another one before, so whoever makes it waits for a grace period, and says so
//! in the value. A host that has used a server before, and finds a value there that differs and is no later one, puts
//! its own back: the item was lost, and somebody with a wrong configuration came first.
//!
//! Not covered: a host with another list that reaches none of the servers that know better. The names database decides
//! then.
//!
//! # Fencing tokens
//!
//! The tokens of one server grow; those of two servers do not compare. So while X is in force (*X*, or *X, then Y*), the
//! token of a name is that of its server in X, also where it is locked on both; once Y is in force, that of its server in
//! Y. The base of a server in Y is given when Y comes into force there, so it is greater than every token before,
//! and tokens count from it on ([`Numbering`]). In the moment between, when neither says that it is in force, a lock on
//! both has the greater token, and both are smaller than the base to come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::rendezvous;
use crate::config::LockConfig;
use crate::fencing::Numbering;
use crate::key::LockKey;

/// The item that says what holds for the whole fleet. A lock's key has no `@` there.
pub(super) const FLEET: &str = "namelock:@fleet";

/// Servers as they are configured, in one order: the order of the list does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List(Arc<[Box<str>]>);

/// A list of servers, and another one while that is being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) previous: Option<List>,
    pub(super) current: List,
}

/// What must be the same on all hosts besides the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    lease_ms: u128,
    grace_ms: u128,
    ttl_s: u32,
    /// The longest that a lease is renewed: hosts that forget tokens of others sooner would take smaller ones. None where a
    /// host has written the value that does not tell.
    hold_ms: Option<u128>,
}

/// The value of the item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) lists: Lists,
    /// The list that was in force before, which hosts may still know that were forgotten.
    pub(super) from: Option<List>,
    pub(super) times: Times,
    /// The epoch that was given when the value was announced or finished; 0 for a first one.
    pub(super) base: u64,
    /// The server's CAS when the value was written; tokens count from there.
    pub(super) counted: u64,
    /// Whether nothing is granted before the value is as old as the grace period.
    pub(super) waits: bool,
}

/// What a host does about the lists that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Use,
    /// It makes the value that of its own two lists.
    Announce,
    /// It makes the value that of its own list, on all servers of the one before.
    Finish,
    Refuse,
}

/// What a connection knows of the change of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) numbering: Numbering,
    pub(super) in_force: InForce,
}

/// Which list of this host is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InForce {
    Previous,
    Current,
    Other,
}

impl List {
    pub(super) fn new(servers: &[String]) -> Self {
        let mut servers: Vec<Box<str>> = servers.iter().map(|server| server.as_str().into()).collect();
        servers.sort();
        servers.dedup();
        Self(servers.into())
    }

    pub(super) fn servers(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|server| &**server)
    }

    /// The server that has `key`.
    pub(super) fn choose(&self, key: &LockKey) -> &str {
        &self.0[rendezvous::choose(self.servers(), key.as_str())]
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Lists {
    fn named(&self, list: &List) -> bool {
        self.current == *list || self.previous.as_ref() == Some(list)
    }

    /// The list whose servers decide which host has a name.
    pub(super) fn in_force(&self) -> &List {
        self.previous.as_ref().unwrap_or(&self.current)
    }

    /// Every server of both lists.
    pub(super) fn all(&self) -> List {
        let both = self.previous.iter().chain([&self.current]);
        let servers: Vec<_> = both.flat_map(List::servers).map(str::to_owned).collect();
        List::new(&servers)
    }

    /// What a host with these lists does about those that it finds.
    pub(super) fn judge(&self, found: &Self) -> Verdict {
        let own = &self.current;
        match (&self.previous, &found.previous) {
            (None, None) if found.current == *own => Verdict::Use,
            (None, Some(before)) if before == own => Verdict::Use,
            (None, Some(_)) if found.current == *own => Verdict::Finish,
            (None, _) => Verdict::Refuse,
            (Some(previous), Some(_)) if found.named(own) && found.named(previous) => Verdict::Use,
            (Some(_), None) if found.current == *own => Verdict::Use,
            (Some(previous), _) if found.in_force() == previous => Verdict::Announce,
            (Some(_), _) => Verdict::Refuse,
        }
    }
}

impl Times {
    /// Whether hosts with these and with those times may serve together.
    pub(super) fn agree(&self, other: &Self) -> bool {
        let hold_ms = |times: &Self| times.hold_ms.or(self.hold_ms).or(other.hold_ms);
        let of = |times: &Self| (times.lease_ms, times.grace_ms, times.ttl_s, hold_ms(times));
        of(self) == of(other)
    }

    pub(super) fn new(config: &LockConfig) -> Self {
        Self {
            lease_ms: config.lease.as_millis(),
            grace_ms: config.grace().as_millis(),
            ttl_s: config.ttl_seconds(),
            hold_ms: Some(config.max_hold.as_millis()),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lease_ms,
            grace_ms,
            ttl_s,
            hold_ms,
        } = self;
        write!(f, "lease={lease_ms}ms grace={grace_ms}ms ttl={ttl_s}s")?;
        hold_ms.map_or(Ok(()), |hold_ms| write!(f, " hold={hold_ms}ms"))
    }
}

impl Value {
    /// Whether this is a later value than `before`, which may be what it has come from. If not, that is some other
    /// fleet's.
    pub(super) fn replaces(&self, before: &Self) -> bool {
        let of_this = |list: &List| self.lists.named(list) || self.from.as_ref() == Some(list);
        let in_force = before.lists.in_force();
        let has_come_from =
            of_this(&before.lists.current) && of_this(in_force) || self.lists.previous.as_ref() == Some(in_force);
        self.base > before.base && self.lists != before.lists && self.times.agree(&before.times) && has_come_from
    }

    /// What a host with these lists knows of the change while this is the value.
    pub(super) fn phase(&self, own: &Lists) -> Phase {
        let in_force = self.lists.in_force();
        Phase {
            numbering: Numbering {
                base: self.base,
                counted: self.counted,
            },
            in_force: if *in_force == own.current {
                InForce::Current
            } else if own.previous.as_ref() == Some(in_force) {
                InForce::Previous
            } else {
                InForce::Other
            },
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: Option<&List>| list.map_or_else(|| "-".to_owned(), ToString::to_string);
        let Self {
            lists,
            times,
            base,
            counted,
            ..
        } = self;
        write!(
            f,
            "1 list={} previous={} from={} {times} base={base} counted={counted} waits={}",
            lists.current,
            list(lists.previous.as_ref()),
            list(self.from.as_ref()),
            u8::from(self.waits),
        )
    }
}

impl FromStr for Value {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_prefix("1 ").ok_or(())?;
        let fields: BTreeMap<_, _> = text.split(' ').filter_map(|field| field.split_once('=')).collect();
        let get = |key| fields.get(key).copied().ok_or(());
        let list = |text: &str| {
            let servers: Vec<_> = text.split(',').map(str::to_owned).collect();
            (text != "-").then(|| List::new(&servers))
        };
        let number = |key, unit| get(key)?.strip_suffix(unit).ok_or(())?.parse::<u64>().map_err(drop);
        Ok(Self {
            lists: Lists {
                previous: list(get("previous")?),
                current: list(get("list")?).ok_or(())?,
            },
            from: list(get("from")?),
            times: Times {
                lease_ms: number("lease", "ms")?.into(),
                grace_ms: number("grace", "ms")?.into(),
                ttl_s: number("ttl", "s")?.try_into().map_err(drop)?,
                hold_ms: number("hold", "ms").ok().map(u128::from),
            },
            base: number("base", "")?,
            counted: number("counted", "")?,
            waits: number("waits", "")? != 0,
        })
    }
}

impl fmt::Display for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.previous {
            Some(previous) => write!(f, "{previous}, then {}", self.current),
            None => write!(f, "{}", self.current),
        }
    }
}

#[cfg(test)]
mod tests;
