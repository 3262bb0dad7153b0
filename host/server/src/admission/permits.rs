//! A semaphore whose limit can change while permits are out.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit together with the semaphore that enforces it.
#[derive(Debug)]
pub(super) struct Permits {
    semaphore: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    /// The limit.
    max: usize,
    /// Permits that are out and are not to be reissued, because the limit has become smaller.
    surplus: usize,
}

/// One permit, returned when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    permits: Arc<Permits>,
}

impl Permits {
    /// Creates `max` permits.
    pub(super) fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(max)),
            size: Mutex::new(Size { max, surplus: 0 }),
        })
    }

    /// Takes a permit if one is free.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(self.permit(permit))
    }

    /// Waits for a permit; returns none only if the semaphore were closed, which nobody does.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok()?;
        Some(self.permit(permit))
    }

    fn permit(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Permit {
        Permit {
            permit: Some(permit),
            permits: Arc::clone(self),
        }
    }

    /// The limit.
    pub(super) fn max(&self) -> usize {
        self.size.lock().max
    }

    /// How many permits are out.
    pub(super) fn taken(&self) -> usize {
        let size = self.size.lock();
        (size.max + size.surplus).saturating_sub(self.semaphore.available_permits())
    }

    /// Changes the limit; permits beyond a smaller one are not reissued when they come back.
    pub(super) fn resize(&self, max: usize) {
        let max = max.min(Semaphore::MAX_PERMITS);
        let mut size = self.size.lock();
        if max >= size.max {
            let more = max - size.max;
            let kept = more.min(size.surplus);
            size.surplus -= kept;
            self.semaphore.add_permits(more - kept);
        } else {
            let fewer = size.max - max;
            size.surplus += fewer - self.semaphore.forget_permits(fewer);
        }
        size.max = max;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Under the mutex, so that a limit that changes at the same time counts this permit once.
        let mut size = self.permits.size.lock();
        let permit = self.permit.take();
        if let Some(surplus) = size.surplus.checked_sub(1) {
            size.surplus = surplus;
            permit.into_iter().for_each(OwnedSemaphorePermit::forget);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_changes_keeps_what_is_used() {
        let permits = Permits::new(3);
        let (one, two) = (permits.try_take().unwrap(), permits.try_take().unwrap());
        permits.resize(1);
        assert_eq!(permits.taken(), 2);
        drop(one);
        assert_eq!(permits.taken(), 1);
        assert!(permits.try_take().is_none(), "the limit of one is reached");
        permits.resize(2);
        let three = permits.try_take().unwrap();
        assert!(permits.try_take().is_none());
        drop((two, three));
        assert_eq!((permits.taken(), permits.semaphore.available_permits()), (0, 2));
    }
}
