//! What the log was told of a server that cannot be used.

use parking_lot::Mutex;

/// How many reasons are logged until the server can be used again.
const REASONS_MAX: usize = 8;

/// The reasons that were logged since the server could be used last. All lanes have one fault, and it is tried several times a
/// second, so each reason is logged once.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<Vec<String>>);

impl Said {
    /// Tells whether to log this reason, and remembers that it was.
    pub(super) fn is_new(&self, reason: &str) -> bool {
        let mut said = self.0.lock();
        let is_new = said.len() < REASONS_MAX && !said.iter().any(|said| said == reason);
        if is_new {
            said.push(reason.to_owned());
        }
        is_new
    }

    /// Records that the server can be used.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_new_once_until_the_server_can_be_used_again() {
        let said = Said::default();
        assert!(said.is_new("a") && said.is_new("b") && !said.is_new("a"));
        said.forget();
        assert!(said.is_new("a"));
        let new = (0..100).filter(|n| said.is_new(&n.to_string()));
        assert_eq!(new.count(), REASONS_MAX - 1);
    }
}
