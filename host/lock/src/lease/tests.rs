use std::time::Duration;

use tokio::time::Instant;

use crate::{AcquireError, LockConfig, Locks};

fn locks() -> Locks {
    Locks::open(&"memory:".parse().unwrap(), LockConfig::default()).unwrap()
}

/// Whether nobody holds the name; whoever is told takes it for a moment.
async fn is_free(locks: &Locks) -> bool {
    match locks.acquire("t", "a", Duration::ZERO).await {
        Ok(lease) => {
            lease.release().await.unwrap();
            true
        }
        Err(AcquireError::Busy { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn until_free(locks: &Locks) {
    while !is_free(locks).await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

// Shows P3: what is kept is released once nobody keeps it any longer, whether it was released or dropped before.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_kept_is_released_after_its_last_keeper() {
    let locks = locks();
    for is_dropped in [false, true] {
        let lease = locks.acquire("t", "a", Duration::ZERO).await.unwrap();
        let keepers = (lease.keep(), lease.keep());
        let end = Instant::now() + Duration::from_secs(5);
        if is_dropped {
            drop(lease);
        } else {
            assert_eq!(lease.release().await, Ok(()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(keepers.0);
        assert!(!is_free(&locks).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!is_free(&locks).await);
        drop(keepers.1);
        until_free(&locks).await;
        assert!(Instant::now() < end, "it was not left to expire");
    }
}

// Shows P3: a keeper that stays for ever keeps nobody else from the name beyond the lease.
#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_no_longer_than_it_lasts() {
    let locks = locks();
    let lease = locks.acquire("t", "a", Duration::ZERO).await.unwrap();
    let (_keeper, begin) = (lease.keep(), Instant::now());
    drop(lease);
    until_free(&locks).await;
    let kept = begin.elapsed();
    let longest = LockConfig::default().lease + Duration::from_millis(10);
    assert!(Duration::from_secs(9) < kept && kept <= longest, "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_keepers_have_gone_is_released_at_once() {
    let locks = locks();
    let lease = locks.acquire("t", "a", Duration::ZERO).await.unwrap();
    drop((lease.keep(), lease.keep()));
    lease.release().await.unwrap();
    assert!(is_free(&locks).await);
}
