//! What bounds the model, and which rules of the protocol it follows.

/// How many ticks a lease lasts.
pub(super) const LEASE: u8 = 2;

/// How many ticks an exchange may take.
pub(super) const EXCHANGE: u8 = 1;

/// How many ticks the server's clock may be behind without a stall.
pub(super) const COARSE: u8 = 1;

pub(super) const HOSTS: usize = 2;

/// How much of the world is explored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) ticks: u8,
    pub(super) attempts: u8,
    pub(super) stalls: u8,
    pub(super) restarts: u8,
    pub(super) renewals: u8,
}

/// The rules of the protocol. A test removes one at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The time to live covers the coarse clock and a stall, beyond the lease.
    pub(super) ttl_has_margin: bool,
    /// A lease is trusted from before its request was sent, not from its reply.
    pub(super) early_deadline: bool,
    /// A CAS is sent only over a connection to the process that it came from.
    pub(super) cas_bound_to_connection: bool,
    /// After a stall nothing is trusted until the clock has ticked.
    pub(super) stalls_are_noticed: bool,
    /// A fencing token begins with the server's epoch.
    pub(super) epoch_in_token: bool,
    /// A host that finds the server in another epoch asks it for nothing for as long as a lease.
    pub(super) restart_grace: bool,
}

pub(super) const ALL: Rules = Rules {
    ttl_has_margin: true,
    early_deadline: true,
    cas_bound_to_connection: true,
    stalls_are_noticed: true,
    epoch_in_token: true,
    restart_grace: true,
};
