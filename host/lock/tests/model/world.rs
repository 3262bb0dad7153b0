//! The state of the world that the model explores, and what can happen in it.

use super::rules::{EXCHANGE, HOSTS, LEASE};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) owner: u8,
    pub(super) cas: u8,
    /// By the server's clock.
    pub(super) expires: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Idle,
    /// Has asked for the lock, and waits.
    Asked {
        at: u8,
        attempt: u8,
    },
    /// Trusts its lease until the deadline.
    Holds {
        attempt: u8,
        cas: u8,
        epoch: u8,
        deadline: u8,
    },
    /// Has asked for more time.
    Renews {
        attempt: u8,
        cas: u8,
        epoch: u8,
        deadline: u8,
        at: u8,
    },
    /// Gives back what it may have. It knows the CAS and epoch, or only the attempt.
    Releases {
        attempt: u8,
        known: Option<(u8, u8)>,
    },
}

/// What orders the writes of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Order {
    /// The fencing token, which is what the database sees of it.
    pub(super) token: u16,
    /// How many grants there were until this one, which nobody in the protocol knows.
    pub(super) grant: u8,
}

/// What a holder asks the names database for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Wish {
    Save,
    Free,
}

/// The row of the name in the names database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// Whether its registration is active.
    pub(super) active: bool,
    /// The greatest token that was seen.
    pub(super) token: u16,
    /// The grant of the latest write.
    pub(super) grant: u8,
}

/// A message that is on its way. It may arrive late, even after its sender has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Message {
    /// `epoch` is the one that the sender knows.
    Take {
        host: u8,
        attempt: u8,
        epoch: u8,
    },
    /// `expires` is by the server's clock, as the host has read it.
    Granted {
        host: u8,
        attempt: u8,
        cas: u8,
        epoch: u8,
        expires: u8,
    },
    Renew {
        host: u8,
        attempt: u8,
        cas: u8,
        epoch: u8,
    },
    Renewed {
        host: u8,
        attempt: u8,
        cas: u8,
        expires: u8,
    },
    Delete {
        cas: u8,
        epoch: u8,
        owner: u8,
    },
    /// A write on its way to the database, which may take any time. It says how long its lease lasts from when it is
    /// sent.
    Write {
        wish: Wish,
        attempt: u8,
        order: Order,
        sent: u8,
        left: u8,
    },
    /// A write that waits in the database, for any time. `prompt`: it was not long on its way.
    Waiting {
        wish: Wish,
        attempt: u8,
        order: Order,
        until: u8,
        prompt: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) time: u8,
    pub(super) attempts: u8,
    pub(super) renewals: u8,
    pub(super) epoch: u8,
    /// When it began, which is when the locks of the one before were gone.
    pub(super) epoch_began: u8,
    pub(super) process: u8,
    pub(super) restarts: u8,
    pub(super) evictions: u8,
    pub(super) fresh: u8,
    pub(super) next_cas: u8,
    pub(super) item: Option<Item>,
    /// How far the server's clock is behind.
    pub(super) behind: u8,
    /// Since when the server stands still.
    pub(super) stalled: Option<u8>,
    pub(super) stalls: u8,
    pub(super) hosts: [Host; HOSTS],
    /// The epoch that each host knows (0: none), the process that its connection leads to, and until when it asks for
    /// nothing.
    pub(super) known: [u8; HOSTS],
    pub(super) over: [u8; HOSTS],
    pub(super) grace: [u8; HOSTS],
    /// Which hosts have held the lock.
    pub(super) held: [bool; HOSTS],
    pub(super) messages: Vec<Message>,
    /// The host whose machine is suspended, and for how long each was during its attempt.
    pub(super) asleep: Option<usize>,
    pub(super) slept: [u8; HOSTS],
    pub(super) suspends: u8,
    /// By the number of the attempt, as long as its host may still write.
    pub(super) orders: [Option<Order>; 3],
    pub(super) grants: u8,
    pub(super) writes: u8,
    pub(super) row: Row,
    /// Whether of two writes the one with the older lease came last, an active registration was written over, or a write
    /// came while another host trusted its lease.
    pub(super) older_came_last: bool,
    pub(super) overwritten: bool,
    pub(super) interfered: bool,
    /// The token of the latest grant, and whether it was ever smaller than the one before.
    pub(super) last_token: u16,
    pub(super) token_went_back: bool,
    /// Whether a release has deleted what another host held.
    pub(super) deleted_anothers_lock: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Tick {
        clock_keeps_up: bool,
    },
    Connect(usize),
    Ask(usize),
    Renew(usize),
    Release(usize),
    GiveUp(usize),
    Look(usize),
    Deliver(Message),
    Lose(Message),
    Stall,
    Resume,
    Restart,
    Evict,
    Suspend(usize),
    Wake,
    /// A holder writes to the database.
    Write(usize, Wish),
    /// A host dies, and one that knows nothing takes its place.
    Start(usize),
}

impl World {
    pub(super) fn server_time(&self) -> u8 {
        self.time.saturating_sub(self.behind)
    }

    pub(super) fn live_item(&self) -> Option<Item> {
        self.item.filter(|item| item.expires > self.server_time())
    }

    pub(super) fn trusts(&self, host: usize) -> bool {
        match self.hosts[host] {
            Host::Holds { deadline, .. } | Host::Renews { deadline, .. } => self.time < deadline,
            Host::Idle | Host::Asked { .. } | Host::Releases { .. } => false,
        }
    }

    /// The attempt whose lease a host has.
    pub(super) fn attempt(&self, host: usize) -> Option<u8> {
        match self.hosts[host] {
            Host::Holds { attempt, .. } | Host::Renews { attempt, .. } => Some(attempt),
            Host::Idle | Host::Asked { .. } | Host::Releases { .. } => None,
        }
    }

    /// Whether an exchange that began then has taken too long. Its timer stands still in suspend.
    pub(super) fn is_late(&self, host: usize, began: u8) -> bool {
        (self.time - began).saturating_sub(self.slept[host]) > EXCHANGE
    }

    /// Whether a write of this attempt is not done yet.
    pub(super) fn is_writing(&self, attempt: u8) -> bool {
        self.messages.iter().any(|message| {
            matches!(message, Message::Write { attempt: other, .. } | Message::Waiting { attempt: other, .. }
                if *other == attempt)
        })
    }

    pub(super) fn send(&mut self, message: Message) {
        self.messages.push(message);
        self.messages.sort_unstable();
    }

    /// Leaves out what makes no difference any more, so that worlds that go on alike are one.
    pub(super) fn tidy(&mut self) {
        let hosts = self.hosts;
        self.messages.retain(|message| match *message {
            Message::Granted { host, attempt, .. } => {
                matches!(hosts[usize::from(host)], Host::Asked { attempt: mine, .. } if mine == attempt)
            }
            Message::Renewed { host, attempt, .. } => {
                matches!(hosts[usize::from(host)], Host::Renews { attempt: mine, .. } if mine == attempt)
            }
            Message::Take { .. }
            | Message::Renew { .. }
            | Message::Delete { .. }
            | Message::Write { .. }
            | Message::Waiting { .. } => true,
        });
        for attempt in 0..self.orders.len() {
            let may_write = |host: &Host| {
                matches!(host, Host::Asked { attempt: mine, .. }
                    | Host::Holds { attempt: mine, .. }
                    | Host::Renews { attempt: mine, .. } if usize::from(*mine) == attempt)
            };
            if !hosts.iter().any(may_write) {
                self.orders[attempt] = None;
            }
        }
        for (host, slept) in hosts.iter().zip(&mut self.slept) {
            if matches!(host, Host::Idle | Host::Releases { .. }) {
                *slept = 0;
            }
        }
        for grace in &mut self.grace {
            if *grace <= self.time {
                *grace = 0;
            }
        }
        if self.epoch_began + LEASE <= self.time {
            self.epoch_began = 0;
        }
        self.item = self.live_item();
    }
}
