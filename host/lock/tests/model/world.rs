//! The state of the world that the model explores, and what can happen in it.

use super::rules::{HOSTS, LEASE};

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
            Message::Take { .. } | Message::Renew { .. } | Message::Delete { .. } => true,
        });
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
