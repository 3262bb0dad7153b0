//! What is counted of a tenant.

/// Something that a tenant uses up: its count only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Nanoseconds for which its calls ran, the host functions that they called included.
    GuestNanos,
    /// Nanoseconds for which the host worked because of it outside of its calls: giving memory back, rendering a backtrace.
    HostNanos,
    /// Bytes of its lines in the log, as they were written.
    LogBytes,
    /// Lines that were not written, because a budget was used up.
    LogLinesDropped,
    /// Writes to the names database that were begun.
    Writes,
    /// Nanoseconds between a request to the names database and its answer.
    DatabaseNanos,
    /// Nanoseconds for which its component was compiled.
    CompileNanos,
    /// Calls whose caller hung up before the answer.
    ClientsGone,
}

impl Counter {
    /// Every counter, in the order of the declaration.
    pub const ALL: [Self; 8] = [
        Self::GuestNanos,
        Self::HostNanos,
        Self::LogBytes,
        Self::LogLinesDropped,
        Self::Writes,
        Self::DatabaseNanos,
        Self::CompileNanos,
        Self::ClientsGone,
    ];
}

/// Something that a tenant has at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Level {
    /// The most memory that one of its calls ever had, in bytes.
    MemoryPeak,
    /// Rows in the names database, those of names that ended lately included.
    Registrations,
    /// Bytes of these rows.
    RegistrationBytes,
    /// Bytes of what its component was compiled to.
    ArtifactBytes,
}

impl Level {
    /// Every level, in the order of the declaration.
    pub const ALL: [Self; 4] = [
        Self::MemoryPeak,
        Self::Registrations,
        Self::RegistrationBytes,
        Self::ArtifactBytes,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_its_own_index() {
        assert!(
            Counter::ALL
                .iter()
                .enumerate()
                .all(|(index, counter)| *counter as usize == index)
        );
        assert!(
            Level::ALL
                .iter()
                .enumerate()
                .all(|(index, level)| *level as usize == index)
        );
    }
}
