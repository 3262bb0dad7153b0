//! The state of the world that the model explores, and what can happen in it.

use super::rules::HOSTS;

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
    Take { host: u8, attempt: u8 },
    Granted { host: u8, attempt: u8, cas: u8, epoch: u8 },
    Renew { host: u8, attempt: u8, cas: u8, epoch: u8 },
    Renewed { host: u8, attempt: u8, cas: u8 },
    Delete { cas: u8, epoch: u8, owner: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) time: u8,
    pub(super) attempts: u8,
    pub(super) renewals: u8,
    pub(super) epoch: u8,
    pub(super) restarts: u8,
    pub(super) next_cas: u8,
    pub(super) item: Option<Item>,
    /// How far the server's clock is behind.
    pub(super) behind: u8,
    /// Since when the server stands still.
    pub(super) stalled: Option<u8>,
    pub(super) stalls: u8,
    /// Until when what the server grants is not trusted.
    pub(super) distrusted: u8,
    pub(super) hosts: [Host; HOSTS],
    /// The epoch that each host is or was connected to, and until when it asks for nothing.
    pub(super) known: [u8; HOSTS],
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
    Tick { clock_keeps_up: bool },
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
}
