//! How a request ended: the one closed list behind the metric's label and the log's field.

use super::kind::ErrorKind;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with a success.
    Ok,
    /// It was answered with a problem.
    Failed(ErrorKind),
    /// Its caller hung up before the answer, so there was nobody to send a code to.
    ClientGone,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = ErrorKind::ALL.len() + 2;

    /// Every outcome, in the order of [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        let failed = ErrorKind::ALL.into_iter().map(Self::Failed);
        std::iter::once(Self::Ok).chain(failed).chain([Self::ClientGone])
    }

    /// Its place in the list.
    pub fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Failed(kind) => kind as usize + 1,
            Self::ClientGone => Self::COUNT - 1,
        }
    }

    /// Whether something is wrong with the host, what it needs, or the handler, or a tenant is at a limit: statuses from 500 on, and
    /// `tenant_limit`. What else fails is for the caller to mend.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Failed(kind) if kind.status().is_server_error() || kind == ErrorKind::TenantLimit)
    }

    /// The code, as metric and log spell it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => kind.label(),
            Self::ClientGone => "client_gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_its_index() {
        let all: Vec<_> = Outcome::all().collect();
        assert_eq!(all.len(), Outcome::COUNT);
        for (index, outcome) in all.into_iter().enumerate() {
            assert_eq!(outcome.index(), index, "{}", outcome.label());
        }
    }
}
