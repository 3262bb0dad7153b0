//! Safeties that a test can take out of a host, to show that they are needed and that their absence would be noticed.
//!
//! A host that was built with the feature `removable-safeties` reads which from the environment variable
//! `NAMELOCK_WITHOUT`, so that one build serves `make chaos-negative` for all of them. Without the feature
//! [`is_removed`] is always false, and the compiler leaves out what stands behind it. A release build with the feature
//! does not compile.

#[cfg(all(feature = "removable-safeties", not(debug_assertions)))]
compile_error!(
    "the feature removable-safeties lets a safety be removed, so that a test can show that it is needed; never in release"
);

macro_rules! safeties {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A safety that can be taken out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Safety {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Safety {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns its name in `NAMELOCK_WITHOUT`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

safeties! {
    /// The database refuses a name that is taken.
    Arbitration = "arbitration",
    /// The database refuses an older fencing token.
    Fencing = "fencing",
    /// A release deletes only what is its own.
    OwnerCheck = "owner-check",
    /// Nothing is granted while somebody may trust a lock that memcached has forgotten.
    RestartGrace = "restart-grace",
    /// A lease is trusted from before its request was sent.
    EarlyDeadline = "early-deadline",
    /// A grant is handed on at once; without that, a host can be stopped between the grant and the trust in it.
    PromptGrant = "prompt-grant",
    /// The sentinel is read at the end of every batch.
    SentinelInBatch = "sentinel-in-batch",
    /// A request that is sent again with its key is answered like the first one.
    Idempotency = "idempotency",
    /// A CAS is never sent to another server process than the one that it came from.
    CasAtHome = "cas-at-home",
    /// A server that stood still, so that its clock is behind, is noticed.
    ServerClock = "server-clock",
    /// A write begins only while the lease outlasts it, and ends before the lease does.
    WriteDeadline = "write-deadline",
    /// A request that was not answered is resolved by its token.
    ResolveByToken = "resolve-by-token",
    /// A purge does not follow a clock that has jumped.
    PurgeGuard = "purge-guard",
    /// A host that knows no earlier life of a server waits until no lock of one can be trusted.
    FreshHostGrace = "fresh-host-grace",
    /// A host with another list of servers, or another lease, does not serve.
    ListFingerprint = "list-fingerprint",
}

/// Returns whether this process runs without `safety`.
///
/// # Panics
///
/// When `NAMELOCK_WITHOUT` names something else than safeties.
#[cfg(feature = "removable-safeties")]
pub fn is_removed(safety: Safety) -> bool {
    use std::sync::OnceLock;

    static REMOVED: OnceLock<Vec<Safety>> = OnceLock::new();
    let removed = REMOVED.get_or_init(|| parse(&std::env::var("NAMELOCK_WITHOUT").unwrap_or_default()));
    removed.contains(&safety)
}

/// Returns whether this process runs without `safety`: it never does.
#[cfg(not(feature = "removable-safeties"))]
#[inline]
pub const fn is_removed(_safety: Safety) -> bool {
    false
}

/// Reads names that are separated by commas.
#[cfg(any(test, feature = "removable-safeties"))]
fn parse(names: &str) -> Vec<Safety> {
    let names = names.split(',').filter(|name| !name.is_empty());
    let known = names.map(|name| {
        let safety = Safety::ALL.iter().find(|safety| safety.name() == name);
        *safety.unwrap_or_else(|| panic!("NAMELOCK_WITHOUT: there is no safety {name:?}"))
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safeties_are_named_in_a_list() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("fencing,owner-check"), [Safety::Fencing, Safety::OwnerCheck]);
        for safety in Safety::ALL {
            assert_eq!(parse(safety.name()), [*safety]);
        }
    }

    #[test]
    #[should_panic(expected = "there is no safety \"fence\"")]
    fn a_safety_that_does_not_exist_is_refused() {
        parse("fence");
    }

    #[cfg(not(feature = "removable-safeties"))]
    #[test]
    fn nothing_is_removed_from_an_ordinary_build() {
        assert!(Safety::ALL.iter().all(|safety| !is_removed(*safety)));
    }
}
