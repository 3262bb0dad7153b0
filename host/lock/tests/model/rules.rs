//! What bounds the model, and which rules of the protocol it follows.

/// How many ticks a lease lasts.
pub(super) const LEASE: u8 = 2;

/// How many ticks an exchange may take.
pub(super) const EXCHANGE: u8 = 1;

/// How many ticks the server's clock may be behind without a stall.
pub(super) const COARSE: u8 = 1;

/// How many ticks memcached is asked to keep the lock.
pub(super) const TTL: u8 = LEASE + COARSE + EXCHANGE;

pub(super) const HOSTS: usize = 2;

/// How much of the world is explored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) ticks: u8,
    pub(super) attempts: u8,
    pub(super) stalls: u8,
    pub(super) restarts: u8,
    /// Evictions of the lock, which are to the protocol what a flush is: the server's process goes on.
    pub(super) evictions: u8,
    /// How often a host dies and another one starts in its place, which knows nothing.
    pub(super) fresh: u8,
    pub(super) renewals: u8,
    /// How often a host's machine is suspended.
    pub(super) suspends: u8,
    /// How often a holder writes to the names database.
    pub(super) writes: u8,
}

/// The rules of the protocol. A test removes one at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// A lease is trusted from before its request was sent, not from its reply.
    pub(super) early_deadline: bool,
    /// A CAS is sent only over a connection to the process that it came from.
    pub(super) cas_bound_to_connection: bool,
    /// A lock is trusted only if it lives long enough by the server's own clock.
    pub(super) server_clock_is_read: bool,
    /// A fencing token begins with the server's epoch.
    pub(super) epoch_in_token: bool,
    /// Epochs are in order: they are given from one memory, and not taken from the clock of the host that begins one.
    pub(super) epochs_in_order: bool,
    /// What a batch is told is believed only if the sentinel is still the one that the host knows.
    pub(super) sentinel_in_batch: bool,
    /// A sentinel is evicted before a lock.
    pub(super) sentinel_of_each_size: bool,
    /// A host that finds the server in another epoch asks it for nothing until a lease after that began.
    pub(super) restart_grace: bool,
    /// So does a host that knew of none, unless it is the server's first.
    pub(super) fresh_host_grace: bool,
    /// A lease is counted by a clock that goes on in suspend.
    pub(super) leases_end_in_suspend: bool,
    /// The database refuses a token that is smaller than the one in the row.
    pub(super) fencing: bool,
    /// The database does not save a name that has an active registration.
    pub(super) arbitration: bool,
    /// A write that has waited in the database until its lease has ended is refused there.
    pub(super) write_deadline: bool,
}

pub(super) const ALL: Rules = Rules {
    early_deadline: true,
    cas_bound_to_connection: true,
    server_clock_is_read: true,
    epoch_in_token: true,
    epochs_in_order: true,
    sentinel_in_batch: true,
    sentinel_of_each_size: true,
    restart_grace: true,
    fresh_host_grace: true,
    leases_end_in_suspend: true,
    fencing: true,
    arbitration: true,
    write_deadline: true,
};
