//! What is counted.

/// Something that every registration needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A batch of the lock: its commands are written and sent, their replies received and read.
    LockBatch,
    /// A call of `rooms` in the sandbox, with locks in this process and names that nobody keeps.
    SandboxCall,
    /// A request to register a name, from its head to its answer, with the same locks and names.
    Registration,
    /// A name is looked for and saved, in SQLite.
    Names,
}

impl Thing {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::LockBatch, Self::SandboxCall, Self::Registration, Self::Names];

    /// Its key in the baseline, and its name on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::LockBatch => "lock-batch",
            Self::SandboxCall => "sandbox-call",
            Self::Registration => "registration",
            Self::Names => "names",
        }
    }

    /// The thing with this key.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|thing| thing.key() == key)
    }

    /// Whether machine code of a component runs in it.
    pub fn runs_a_component(self) -> bool {
        matches!(self, Self::SandboxCall | Self::Registration)
    }

    /// How often it is done in one round. What one thread does alone is the same each time, but what two do together is not.
    pub fn times(self) -> u64 {
        match self {
            Self::LockBatch => 1,
            Self::SandboxCall | Self::Registration => 4,
            Self::Names => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_thing() {
        for thing in Thing::ALL {
            assert_eq!(Thing::of_key(thing.key()), Some(thing));
        }
        assert_eq!(Thing::of_key("bench"), None);
    }
}
