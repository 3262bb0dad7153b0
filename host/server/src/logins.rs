//! Who was not let in at the admin listener: counted by the reason, and told to the log with the address, once in a minute for each
//! reason.
//!
//! The counter shows that somebody tries; the line shows who. Whoever shows nothing is only counted: an operator's browser does so
//! before it asks for the token.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use crate::telemetry::Told;

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLetIn {
    /// Neither a token nor a certificate.
    NothingShown,
    /// A token that is none of `admin.tokens`.
    UnknownToken,
    /// A certificate that no authority in `admin.tls_client_roots` has signed, or that has ended.
    UnknownCertificate,
    /// A token or certificate that does not have the right.
    MissingRight,
}

impl NotLetIn {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 4] = [
        Self::NothingShown,
        Self::UnknownToken,
        Self::UnknownCertificate,
        Self::MissingRight,
    ];

    /// The reason as written in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NothingShown => "nothing_shown",
            Self::UnknownToken => "unknown_token",
            Self::UnknownCertificate => "unknown_certificate",
            Self::MissingRight => "missing_right",
        }
    }
}

/// Those who were not let in.
#[derive(Debug, Default)]
pub struct Logins {
    counts: [AtomicU64; NotLetIn::ALL.len()],
    told: Mutex<[Told; NotLetIn::ALL.len()]>,
}

impl Logins {
    /// Notes that somebody at this address was not let in.
    pub fn refuse(&self, why: NotLetIn, address: Option<IpAddr>) {
        let count = self.counts[why as usize].fetch_add(1, Relaxed) + 1;
        if why == NotLetIn::NothingShown {
            return;
        }
        let more = self.told.lock()[why as usize].tell(count, Instant::now());
        if let Some(refused) = more {
            let address = address.map(|address| address.to_canonical());
            tracing::warn!(
                reason = why.label(),
                address = address.map(tracing::field::display),
                refused,
                "somebody was not let in at the admin listener; those of the next minute are only counted"
            );
        }
    }

    /// How many were not let in until now, by reason.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |why: NotLetIn| (why.label(), self.counts[why as usize].load(Relaxed));
        NotLetIn::ALL.map(count).into()
    }
}
