//! What a request asks for, as metrics and log name it.

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Operation {
    /// Register a name.
    Register,
    /// Find the registration of a name.
    Find,
    /// Free a name.
    Free,
    /// Change the registration of a name.
    Update,
    /// List registrations.
    List,
    /// Follow the tenant's log; such a request ends when the log begins.
    Log,
    /// None of these: an unknown path or method.
    Other,
}

impl Operation {
    /// Every operation, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Register,
        Self::Find,
        Self::Free,
        Self::Update,
        Self::List,
        Self::Log,
        Self::Other,
    ];

    /// The operation as written in metrics and log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Find => "find",
            Self::Free => "free",
            Self::Update => "update",
            Self::List => "list",
            Self::Log => "log",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_its_index() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{}", operation.label());
        }
    }
}
