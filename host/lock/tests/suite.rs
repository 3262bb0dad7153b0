//! What every table of locks does: the same tests run over the table inside this process, over a real memcached, and over one
//! that is spoken to over TLS and asks for a password.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use namelock_lock::held::Holder;
use namelock_lock::{AcquireError, FencingToken, LockConfig, LockKey, Locks, Lost, TlsFiles};
use namelock_test_servers::{Authority, Memcached, Protection};
use tokio::time::Instant;

use crate::support::NewServers;

const NO_WAIT: Duration = Duration::ZERO;

/// A table of locks, and the server behind it where there is one.
struct Table {
    locks: Locks,
    /// Another host on the same table; the table inside a process has only the one.
    other: Locks,
    server: Option<Memcached>,
    /// Has issued the certificate of the server.
    _authority: Option<Authority>,
}

fn short_lease() -> LockConfig {
    LockConfig {
        lease: Duration::from_secs(1),
        ..LockConfig::default()
    }
}

/// Callers may wait for a short time only.
fn short_wait() -> LockConfig {
    LockConfig {
        max_wait: Duration::from_millis(100),
        ..LockConfig::default()
    }
}

/// A lease can be held for a little longer than it lasts.
fn short_hold() -> LockConfig {
    LockConfig {
        max_hold: Duration::from_millis(1500),
        ..short_lease()
    }
}

impl Table {
    async fn memory(config: &LockConfig) -> Self {
        let locks = Locks::open(&"memory:".parse().unwrap(), config.clone()).unwrap();
        Self {
            other: locks.clone(),
            locks,
            server: None,
            _authority: None,
        }
    }

    async fn memcached(config: &LockConfig) -> Self {
        Self::of(Memcached::start(), None, config).await
    }

    async fn protected(config: &LockConfig) -> Self {
        let authority = Authority::new();
        let server = Memcached::protected(&Protection {
            tls: Some(&authority.sign(&["127.0.0.1"])),
            clients: None,
            login: Some(("ann", "s3cret")),
        });
        let config = LockConfig {
            tls: TlsFiles {
                ca: Some(authority.file()),
                ..TlsFiles::default()
            },
            ..config.clone()
        };
        Self::of(server, Some(authority), &config).await
    }

    async fn of(server: Memcached, authority: Option<Authority>, config: &LockConfig) -> Self {
        let url = server.url().parse().unwrap();
        let open = || Locks::open_with(&url, config.clone(), Arc::new(NewServers)).unwrap();
        let (locks, other) = (open(), open());
        for locks in [&locks, &other] {
            // A new host first watches the clock of memcached, for longer than the leases of some of these tests last.
            let warm = locks.acquire("t", "warm", Duration::from_secs(10)).await.unwrap();
            warm.release().await.unwrap();
        }
        Self {
            locks,
            other,
            server: Some(server),
            _authority: authority,
        }
    }

    /// Waits until the lock of `name` is in the table. The table inside this process has it as soon as it was asked.
    async fn until_taken(&self, name: &str) {
        let Some(server) = &self.server else { return };
        let key = LockKey::new("t", name).unwrap();
        let taken = async {
            while server.raw().get(key.as_str()).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap();
    }
}

async fn a_held_name_is_busy_until_it_is_released(table: Table) {
    let lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    assert_eq!(lease.name(), "a");
    for locks in [&table.locks, &table.other] {
        let error = locks.acquire("t", "a", NO_WAIT).await.unwrap_err();
        assert!(
            matches!(error, AcquireError::Busy { retry_after } if !retry_after.is_zero()),
            "{error}"
        );
    }
    lease.release().await.unwrap();
    table.other.acquire("t", "a", NO_WAIT).await.unwrap();
}

async fn names_and_tenants_are_independent(table: Table) {
    let _a = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let _b = table.locks.acquire("t", "b", NO_WAIT).await.unwrap();
    let _other_tenant = table.other.acquire("u", "a", NO_WAIT).await.unwrap();
    let _no_namespace = table.other.acquire("", "a", NO_WAIT).await.unwrap();
}

async fn an_invalid_name_is_refused(table: Table) {
    for name in [String::new(), "x".repeat(256)] {
        let error = table.locks.acquire("t", &name, NO_WAIT).await.unwrap_err();
        assert!(matches!(error, AcquireError::InvalidName(_)), "{error}");
    }
    table.locks.acquire("t", "\0\r\nversion\r\n ü", NO_WAIT).await.unwrap();
}

// Shows P3: a lease that is dropped is released.
async fn a_dropped_lease_is_released(table: Table) {
    drop(table.locks.acquire("t", "a", NO_WAIT).await.unwrap());
    table.locks.close(Duration::from_secs(5)).await;
    table.other.acquire("t", "a", NO_WAIT).await.unwrap();
}

// Shows P3: whatever a dropped acquire may have taken is released.
async fn a_dropped_acquire_leaves_no_lock(table: Table) {
    for round in 0..40 {
        let mut acquire = Box::pin(table.locks.acquire("t", "a", NO_WAIT));
        // Polled once, it has asked the table; then it is dropped, and nobody waits for the answer.
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(acquire.as_mut().poll(context))).await;
        if round % 2 == 0 {
            // What is dropped before it is sent is not sent. This one has taken the lock, and does not know it.
            table.until_taken("a").await;
        }
        drop(polled);
        drop(acquire);
        table.locks.close(Duration::from_secs(60)).await;
        let lease = table.other.acquire("t", "a", NO_WAIT).await.unwrap();
        lease.release().await.unwrap();
    }
}

async fn fencing_tokens_grow_with_every_grant(table: Table) {
    let mut last = FencingToken::new(0);
    for round in 0..200 {
        let locks = if round % 2 == 0 { &table.locks } else { &table.other };
        let lease = locks.acquire("t", "a", NO_WAIT).await.unwrap();
        assert!(lease.fencing_token() > last, "{} after {last}", lease.fencing_token());
        last = lease.fencing_token();
        lease.release().await.unwrap();
    }
}

async fn a_renewal_counts_from_now(table: Table) {
    let mut lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let first = lease.deadline();
    let full = lease.remaining();
    assert!(full <= Duration::from_secs(10));
    lease.renew().await.unwrap();
    assert!(lease.deadline() > first);
    lease.renew().await.unwrap();
    lease.release().await.unwrap();
}

async fn a_lease_is_not_renewed_beyond_max_hold(table: Table) {
    let begin = Instant::now();
    let mut lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let renewed = async {
        while lease.renew().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.unwrap();
    let held = begin.elapsed();
    assert!((1500..4000).contains(&held.as_millis()), "{held:?}");
    assert_eq!(
        (lease.remaining(), lease.renew().await),
        (Duration::ZERO, Err(Lost::Gone))
    );
}

async fn a_waiter_for_the_end_of_a_lease_is_woken_when_it_is_lost(table: Table) {
    let mut lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let end = lease.end();
    let first = lease.deadline();
    tokio::time::sleep(Duration::from_millis(300)).await;
    lease.renew().await.unwrap();
    let last = lease.deadline();
    assert!(first < last);
    tokio::time::timeout(Duration::from_secs(20), end.lost()).await.unwrap();
    assert!(Instant::now() >= last, "a renewal moves the end");
    assert_eq!(lease.remaining(), Duration::ZERO);

    let released = table.locks.acquire("t", "b", NO_WAIT).await.unwrap();
    let end = released.end();
    released.release().await.unwrap();
    let lost = tokio::time::timeout(Duration::from_millis(1200), end.lost()).await;
    assert!(lost.is_err(), "a released lease is not lost");
}

async fn one_caller_at_a_time_holds_a_name(table: Table) {
    let inside = Arc::new(AtomicU32::new(0));
    let (locks, other) = (table.locks.clone(), table.other.clone());
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let locks = if number % 2 == 0 { locks.clone() } else { other.clone() };
            let inside = Arc::clone(&inside);
            tokio::spawn(async move {
                for _ in 0..20 {
                    let Ok(lease) = locks.acquire("t", "a", Duration::from_secs(20)).await else {
                        panic!("twenty seconds were not enough");
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two callers held it at once");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lease.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn a_waiting_caller_gets_the_name_when_it_is_free(table: Table) {
    let lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let tasks = [table.locks.clone(), table.other.clone()].map(|locks| {
        tokio::spawn(async move {
            let lease = locks.acquire("t", "a", Duration::from_secs(10)).await.unwrap();
            lease.release().await.unwrap();
        })
    });
    tokio::task::yield_now().await;
    lease.release().await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn a_lock_that_is_handed_on_is_busy_elsewhere_and_has_a_greater_token(table: Table) {
    let mut lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    for _ in 0..20 {
        let locks = table.locks.clone();
        let waiting = tokio::spawn(async move { locks.acquire("t", "a", Duration::from_secs(20)).await.unwrap() });
        let error = table.other.acquire("t", "a", NO_WAIT).await.unwrap_err();
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
        let before = lease.fencing_token();
        lease.release().await.unwrap();
        lease = waiting.await.unwrap();
        assert!(lease.fencing_token() > before);
        assert!(table.other.acquire("t", "a", NO_WAIT).await.is_err());
        lease.renew().await.unwrap();
    }
    lease.release().await.unwrap();
    table.other.acquire("t", "a", NO_WAIT).await.unwrap();
}

// Shows P4: what was somebody else's when it was to be handed on stays theirs.
async fn an_expired_lease_is_not_handed_on(table: Table) {
    let old = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let new = table.other.acquire("t", "a", Duration::from_secs(10)).await.unwrap();
    let locks = table.locks.clone();
    let waiting = tokio::spawn(async move { locks.acquire("t", "a", Duration::from_secs(10)).await });
    tokio::task::yield_now().await;
    assert_eq!(old.release().await, Err(Lost::Gone));
    let token = new.fencing_token();
    assert!(table.locks.acquire("t", "a", NO_WAIT).await.is_err());
    new.release().await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
}

// Shows P6: a wait has a limit, whatever the caller asks for.
async fn no_caller_waits_longer_than_max_wait(table: Table) {
    let _lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let begin = Instant::now();
    for locks in [&table.locks, &table.other] {
        let error = locks.acquire("t", "a", Duration::from_secs(8)).await.unwrap_err();
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
    }
    let waited = begin.elapsed();
    assert!((200..4000).contains(&waited.as_millis()), "{waited:?}");
}

// Shows P4: the release of an expired lease does not delete the lock of the next holder.
async fn an_expired_lease_is_lost_and_leaves_the_next_one_alone(table: Table) {
    let mut old = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    // Its holder does nothing; the next caller gets the name when the lock has expired.
    let new = table.other.acquire("t", "a", Duration::from_secs(10)).await.unwrap();
    assert_eq!(old.remaining(), Duration::ZERO);
    assert_eq!(old.renew().await, Err(Lost::Gone));
    assert_eq!(old.release().await, Err(Lost::Gone));
    assert!(matches!(
        table.locks.acquire("t", "a", NO_WAIT).await,
        Err(AcquireError::Busy { .. })
    ));
    new.release().await.unwrap();
}

// Shows P5: a lease that is ended by somebody else is lost at once, and its lock is kept for what is undecided.
async fn a_lease_that_an_operator_ends_is_lost_and_given_back_by_its_holder(table: Table) {
    let mut lease = table.locks.acquire("t", "a", NO_WAIT).await.unwrap();
    let [held] = <[_; 1]>::try_from(table.locks.held(10)).unwrap();
    assert_eq!(
        (held.key.namespace(), held.fencing_token, held.waiting),
        ("t", lease.fencing_token(), 0)
    );
    assert!(held.remaining > Duration::ZERO && held.remaining <= LockConfig::default().lease);
    let end = lease.end();
    assert!(table.locks.end_lease(held.id));
    tokio::time::timeout(Duration::from_secs(60), end.lost()).await.unwrap();
    assert_eq!(lease.remaining(), Duration::ZERO);
    assert_eq!(lease.renew().await, Err(Lost::Gone));

    // Its holder has not given it back yet, and when it does, something is still undecided.
    let keeper = lease.keep();
    let is_busy =
        async |locks: &Locks| matches!(locks.acquire("t", "a", NO_WAIT).await, Err(AcquireError::Busy { .. }));
    assert!(is_busy(&table.other).await);
    assert_eq!(lease.release().await, Err(Lost::Gone));
    table.locks.close(Duration::from_secs(60)).await;
    assert!(is_busy(&table.other).await);
    assert!(!table.locks.end_lease(held.id), "nobody holds it any more");
    assert!(table.locks.held(10).is_empty());

    drop(keeper);
    table.other.acquire("t", "a", Duration::from_secs(60)).await.unwrap();
}

async fn a_held_lock_is_listed_with_its_holder_and_its_name_is_in_no_log(table: Table) {
    let holder = Holder {
        client: "acme".into(),
        request: "r-1".into(),
    };
    let locks = table.locks.acting_for(holder.clone());
    let _leases = [
        table.locks.acquire("t", "plain", NO_WAIT).await.unwrap(),
        locks.acquire("t", "secret name", NO_WAIT).await.unwrap(),
    ];
    let [plain, held] = <[_; 2]>::try_from(table.locks.held(10)).unwrap();
    assert_eq!((plain.holder, plain.name.reveal()), (None, "plain"));
    assert_eq!(
        (held.holder.as_ref(), held.name.reveal()),
        (Some(&holder), "secret name")
    );
    assert!(!format!("{held:?}").contains("secret name"), "{held:?}");
}

async fn what_callers_hold_is_listed_and_counted(table: Table) {
    let leases = [
        table.locks.acquire("t", "a", NO_WAIT).await.unwrap(),
        table.locks.acquire("u", "b", NO_WAIT).await.unwrap(),
    ];
    let waiter = tokio::spawn({
        let locks = table.locks.clone();
        async move { locks.acquire("t", "a", Duration::from_secs(60)).await }
    });
    let namespaces = || -> Vec<_> {
        let held = table.locks.held(2);
        held.iter()
            .map(|held| (held.key.namespace().to_owned(), held.waiting))
            .collect()
    };
    while namespaces() != [("t".to_owned(), 1), ("u".to_owned(), 0)] {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(table.locks.held(1).len(), 1, "the oldest");
    let figures = table.locks.figures();
    assert_eq!((figures.held, figures.waiting), (2, 1));
    assert!(table.locks.acquire("u", "b", NO_WAIT).await.is_err());
    let figures = table.locks.figures();
    let busy = figures.refused.iter().find(|(reason, _)| reason.label() == "busy");
    assert_eq!(busy.map(|(_, count)| *count), Some(1));
    for lease in leases {
        lease.release().await.unwrap();
    }
    waiter.await.unwrap().unwrap().release().await.unwrap();
    // Whoever hangs up has held it too.
    drop(table.locks.acquire("t", "a", NO_WAIT).await.unwrap());
    let figures = table.locks.figures();
    assert_eq!((figures.held, figures.waiting), (0, 0));
    // The refusal was waited for as well.
    assert!(figures.waits.count >= 5 && figures.holds.count >= 4, "{figures:?}");
    assert!(
        figures.servers.iter().all(|server| server.up && server.operations > 0),
        "{figures:?}"
    );
}

macro_rules! suite {
    ($($test:ident with $config:expr;)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Table::memory(&$config).await).await;
            })*
        }
        mod memcached {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Table::memcached(&$config).await).await;
            })*
        }
        mod memcached_over_tls_with_a_password {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Table::protected(&$config).await).await;
            })*
        }
    };
}

suite! {
    a_held_name_is_busy_until_it_is_released with super::LockConfig::default();
    names_and_tenants_are_independent with super::LockConfig::default();
    an_invalid_name_is_refused with super::LockConfig::default();
    a_dropped_lease_is_released with super::LockConfig::default();
    a_dropped_acquire_leaves_no_lock with super::LockConfig::default();
    fencing_tokens_grow_with_every_grant with super::LockConfig::default();
    a_renewal_counts_from_now with super::LockConfig::default();
    a_lease_is_not_renewed_beyond_max_hold with super::short_hold();
    a_waiter_for_the_end_of_a_lease_is_woken_when_it_is_lost with super::short_lease();
    one_caller_at_a_time_holds_a_name with super::LockConfig::default();
    a_waiting_caller_gets_the_name_when_it_is_free with super::LockConfig::default();
    a_lock_that_is_handed_on_is_busy_elsewhere_and_has_a_greater_token with super::LockConfig::default();
    an_expired_lease_is_not_handed_on with super::short_lease();
    no_caller_waits_longer_than_max_wait with super::short_wait();
    an_expired_lease_is_lost_and_leaves_the_next_one_alone with super::short_lease();
    a_lease_that_an_operator_ends_is_lost_and_given_back_by_its_holder with super::LockConfig::default();
    a_held_lock_is_listed_with_its_holder_and_its_name_is_in_no_log with super::LockConfig::default();
    what_callers_hold_is_listed_and_counted with super::LockConfig::default();
}
