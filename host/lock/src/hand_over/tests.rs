use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::config::LockConfig;
use crate::error::AcquireError;

const NO_WAIT: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(60);

/// Longer than a run of a host.
const RUN_OVER: Duration = Duration::from_millis(101);

fn locks() -> Locks {
    let config = LockConfig {
        max_wait: LONG,
        ..LockConfig::default()
    };
    Locks::open(&"memory:".parse().unwrap(), config).unwrap()
}

/// Who has the lock of this name in the table; none: nobody.
async fn holder(locks: &Locks, name: &str) -> Option<u64> {
    let key = LockKey::new("t", name).unwrap();
    locks.shared.table.sight(&key).await.unwrap().held.map(|held| held.cas)
}

async fn acquire(locks: &Locks, name: &str) -> Lease {
    locks.acquire("t", name, NO_WAIT).await.unwrap()
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Lease, AcquireError>> + 'a>>;

/// A caller that waits for the name.
async fn wait<'a>(locks: &'a Locks, name: &'a str) -> Waiting<'a> {
    let mut waiting: Waiting<'a> = Box::pin(locks.acquire("t", name, LONG));
    assert!(poll_once(&mut waiting).await.is_none());
    waiting
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_on_this_host_gets_the_lock_without_it_being_free() {
    let locks = locks();
    let first = acquire(&locks, "a").await;
    let (token, before) = (first.fencing_token(), holder(&locks, "a").await);
    let (second, third) = (wait(&locks, "a").await, wait(&locks, "a").await);
    first.release().await.unwrap();
    let between = holder(&locks, "a").await;
    assert!(between.is_some() && between != before, "it has another owner already");
    let second = second.await.unwrap();
    assert_eq!(holder(&locks, "a").await, between, "nothing more was done");
    assert!(second.fencing_token() > token);
    assert_eq!(second.remaining(), LockConfig::default().lease);
    let token = second.fencing_token();
    second.release().await.unwrap();
    let third = third.await.unwrap();
    assert!(third.fencing_token() > token);
    third.release().await.unwrap();
    assert_eq!(holder(&locks, "a").await, None, "nobody waits");
}

// Shows P3: what was handed to a caller that has gone is released.
#[tokio::test(start_paused = true)]
async fn a_lock_that_was_handed_to_nobody_is_released() {
    let locks = locks();
    for waiters in 1..3 {
        let first = acquire(&locks, "a").await;
        let mut all = Vec::new();
        for _ in 0..waiters {
            all.push(wait(&locks, "a").await);
        }
        first.release().await.unwrap();
        assert!(holder(&locks, "a").await.is_some());
        drop(all);
        locks.close(LONG).await;
        assert_eq!(holder(&locks, "a").await, None);
        acquire(&locks, "a").await.release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_those_that_wait_the_next_one_gets_what_was_handed_to_one_that_has_gone() {
    let locks = locks();
    let first = acquire(&locks, "a").await;
    let (gone, stays) = (wait(&locks, "a").await, wait(&locks, "a").await);
    first.release().await.unwrap();
    let handed = holder(&locks, "a").await;
    drop(gone);
    let lease = stays.await.unwrap();
    assert_eq!(holder(&locks, "a").await, handed);
    lease.release().await.unwrap();
}

// Shows P5: trust counts from before the lock was handed over, and not from when the next caller finds it.
#[tokio::test(start_paused = true)]
async fn what_was_handed_over_long_ago_is_trusted_from_then_or_asked_for_anew() {
    let locks = locks();
    let full = LockConfig::default().lease;
    for (late, left) in [(full / 4, full - full / 4), (full * 3 / 4, full)] {
        let first = acquire(&locks, "a").await;
        let second = wait(&locks, "a").await;
        first.release().await.unwrap();
        tokio::time::advance(late).await;
        let second = second.await.unwrap();
        assert_eq!(second.remaining(), left);
        second.release().await.unwrap();
        assert_eq!(holder(&locks, "a").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_run_the_lock_is_free_for_other_hosts() {
    let locks = locks();
    let first = acquire(&locks, "a").await;
    let second = wait(&locks, "a").await;
    tokio::time::advance(RUN_OVER).await;
    first.release().await.unwrap();
    assert_eq!(holder(&locks, "a").await, None);
    second.await.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_has_expired_is_not_handed_over() {
    let locks = locks();
    let first = acquire(&locks, "a").await;
    let second = wait(&locks, "a").await;
    tokio::time::advance(LockConfig::default().lease + Duration::from_secs(5)).await;
    assert_eq!(first.release().await, Err(crate::Lost::Gone));
    second.await.unwrap().release().await.unwrap();
}

// Keeps the argument of `acquire_all` true: who waits for a turn has no lock.
#[tokio::test(start_paused = true)]
async fn who_waits_for_more_names_gives_back_what_was_handed_over() {
    let locks = locks();
    let (a, b) = (acquire(&locks, "a").await, acquire(&locks, "b").await);
    let mut both = Box::pin(locks.acquire_all("t", &["a", "b"], LONG));
    assert!(poll_once(&mut both).await.is_none());
    a.release().await.unwrap();
    assert!(holder(&locks, "a").await.is_some());
    assert!(poll_once(&mut both).await.is_none());
    assert_eq!(
        holder(&locks, "a").await,
        None,
        "it waits for the turn at the other one"
    );
    b.release().await.unwrap();
    let leases = both.await.unwrap();
    assert_eq!(leases.len(), 2);
    assert!(holder(&locks, "a").await.is_some() && holder(&locks, "b").await.is_some());
}
