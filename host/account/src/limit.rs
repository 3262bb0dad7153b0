//! The closed list of what a tenant is limited in.

/// What a tenant is limited in. The limits themselves are in the configuration, under [`key`](Limit::key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Limit {
    /// Length of its component.
    Component,
    /// Bytes of what its component is compiled to.
    Artifact,
    /// Calls that run at once.
    Calls,
    /// Calls that wait to run.
    CallsWaiting,
    /// Requests a second.
    Rate,
    /// Memory of one call.
    Memory,
    /// Running time of one call.
    CpuTime,
    /// Time from a call's beginning to its end.
    WallTime,
    /// Leases that one call holds.
    Leases,
    /// Calls of the host by one call.
    HostCalls,
    /// Bytes handed to the host at once.
    HostBytes,
    /// Handles that one call holds.
    Handles,
    /// Random bytes asked for at once.
    RandomBytes,
    /// Log of one call.
    LogBytes,
    /// Log of all its calls in a second.
    LogRate,
    /// Those who follow its log at once.
    LogFollowers,
    /// Writes of one call.
    Writes,
    /// Writes of all its calls in a second.
    WriteRate,
    /// Reads of all its calls in a second.
    ReadRate,
    /// Requests a second that are told that a limit is reached.
    RefusalRate,
    /// Rows in the names database.
    Registrations,
    /// Bytes of its rows.
    RegistrationBytes,
}

impl Limit {
    /// Every limit, in the order of the declaration.
    pub const ALL: [Self; 22] = [
        Self::Component,
        Self::Artifact,
        Self::Calls,
        Self::CallsWaiting,
        Self::Rate,
        Self::Memory,
        Self::CpuTime,
        Self::WallTime,
        Self::Leases,
        Self::HostCalls,
        Self::HostBytes,
        Self::Handles,
        Self::RandomBytes,
        Self::LogBytes,
        Self::LogRate,
        Self::LogFollowers,
        Self::Writes,
        Self::WriteRate,
        Self::ReadRate,
        Self::RefusalRate,
        Self::Registrations,
        Self::RegistrationBytes,
    ];

    /// Its key in the section `limits` of the configuration, which is also its name in metrics and in what callers are told.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Artifact => "artifact",
            Self::Calls => "calls",
            Self::CallsWaiting => "calls_waiting",
            Self::Rate => "rate",
            Self::Memory => "memory",
            Self::CpuTime => "cpu_time",
            Self::WallTime => "wall_time",
            Self::Leases => "leases",
            Self::HostCalls => "host_calls",
            Self::HostBytes => "host_bytes",
            Self::Handles => "handles",
            Self::RandomBytes => "random_bytes",
            Self::LogBytes => "log_bytes",
            Self::LogRate => "log_rate",
            Self::LogFollowers => "log_followers",
            Self::Writes => "writes",
            Self::WriteRate => "write_rate",
            Self::ReadRate => "read_rate",
            Self::RefusalRate => "refusal_rate",
            Self::Registrations => "registrations",
            Self::RegistrationBytes => "registration_bytes",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_is_its_own_index_and_has_a_key_of_its_own() {
        assert!(
            Limit::ALL
                .iter()
                .enumerate()
                .all(|(index, limit)| *limit as usize == index)
        );
        let keys: HashSet<_> = Limit::ALL.iter().map(|limit| limit.key()).collect();
        assert_eq!(keys.len(), Limit::ALL.len());
    }
}
