//! Implements the interface `locks`: leases on names.

use std::marker::PhantomData;
use std::time::Duration;

use namelock_lock::Locks;
use namelock_types::milliseconds;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Result, error::Context as _};

use crate::bindings::namelock::registration::locks::{self, AcquireError, Host, HostLease, Lost};
use crate::leases::{LeaseHandle, Leases};

/// The data of a store whose component is given the lock.
pub trait LocksHost: Send {
    /// What the interface needs of it.
    fn locks(&mut self) -> LocksView<'_>;
}

/// What the interface needs of a call.
#[derive(Debug)]
pub struct LocksView<'a, O: Observer = ()> {
    /// The lock service.
    pub locks: &'a Locks,
    /// Where the names are: the same name in two namespaces is two locks.
    pub namespace: &'a str,
    /// What the call holds.
    pub leases: &'a mut Leases<O::Note>,
    /// The handles of the guest.
    pub table: &'a mut ResourceTable,
    /// Sees what it is answered.
    pub observer: O,
}

/// Sees what a guest is answered, for hosts that count, report or tell why.
pub trait Observer: Send {
    /// What the host notes of each lease.
    type Note: Default + Send;

    /// The lock service granted what it was asked for.
    fn granted(&mut self) {}

    /// It did not.
    fn refused(&mut self, _error: &namelock_lock::AcquireError) {}

    /// The call holds as many leases as it may.
    fn too_many(&mut self) {}

    /// A lease is not held any more, or nobody knows.
    fn lost(&mut self) {}
}

impl Observer for () {
    type Note = ();
}

impl<'a> LocksView<'a> {
    /// A view that nobody observes.
    pub fn new(locks: &'a Locks, namespace: &'a str, leases: &'a mut Leases, table: &'a mut ResourceTable) -> Self {
        Self {
            locks,
            namespace,
            leases,
            table,
            observer: (),
        }
    }
}

/// Stands for a [`LocksView`] where a linker needs a type.
#[derive(Debug)]
pub struct HasLocks<O = ()>(PhantomData<O>);

impl<O: Observer + 'static> HasData for HasLocks<O> {
    type Data<'a> = LocksView<'a, O>;
}

/// Adds `namelock:registration/locks` to a linker.
///
/// # Errors
///
/// The linker has it already.
pub fn add_to_linker<T: LocksHost + 'static>(linker: &mut Linker<T>) -> Result<()> {
    locks::add_to_linker::<T, HasLocks>(linker, T::locks)
}

impl<O: Observer> Host for LocksView<'_, O> {
    async fn acquire(&mut self, name: String, wait_ms: u32) -> Result<Result<Resource<LeaseHandle>, AcquireError>> {
        let Some(handle) = self.leases.reserve() else {
            return Ok(Err(self.too_many()));
        };
        let wait = Duration::from_millis(wait_ms.into());
        let lease = match self.locks.acquire(self.namespace, &name, wait).await {
            Ok(lease) => lease,
            Err(error) => return Ok(Err(self.refused(&error))),
        };
        self.observer.granted();
        self.leases.insert(&handle, lease);
        Ok(Ok(self.table.push(handle)?))
    }

    async fn acquire_all(
        &mut self,
        names: Vec<String>,
        wait_ms: u32,
    ) -> Result<Result<Vec<Resource<LeaseHandle>>, AcquireError>> {
        if names.is_empty() {
            return Ok(Err(AcquireError::InvalidName("no name was given".to_owned())));
        }
        if names.len() > self.leases.room() {
            return Ok(Err(self.too_many()));
        }
        if let Some(held) = names.iter().find(|name| self.leases.has(name)) {
            // Waiting for it would not help, as it would with a single one.
            return Ok(Err(AcquireError::InvalidName(format!(
                "this call holds {held:?} already"
            ))));
        }
        let wait = Duration::from_millis(wait_ms.into());
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let leases = match self.locks.acquire_all(self.namespace, &names, wait).await {
            Ok(leases) => leases,
            Err(error) => return Ok(Err(self.refused(&error))),
        };
        self.observer.granted();
        let mut handles = Vec::with_capacity(leases.len());
        for lease in leases {
            let handle = self.leases.reserve().context("there was room for the leases")?;
            self.leases.insert(&handle, lease);
            handles.push(self.table.push(handle)?);
        }
        Ok(Ok(handles))
    }

    async fn release(&mut self, handle: Resource<LeaseHandle>) -> Result<Result<(), Lost>> {
        let handle = self.table.delete(handle)?;
        let released = match self.leases.take(&handle) {
            Some(lease) => lease.release().await,
            None => Err(namelock_lock::Lost::Gone),
        };
        Ok(released.map_err(|lost| self.lost(lost)))
    }
}

impl<O: Observer> HostLease for LocksView<'_, O> {
    fn name(&mut self, handle: Resource<LeaseHandle>) -> Result<String> {
        let lease = self.leases.get(self.table.get(&handle)?);
        Ok(lease.map(|lease| lease.name().to_owned()).unwrap_or_default())
    }

    fn fencing_token(&mut self, handle: Resource<LeaseHandle>) -> Result<u64> {
        let lease = self.leases.get(self.table.get(&handle)?);
        Ok(lease.map_or(0, |lease| lease.fencing_token().get()))
    }

    fn remaining_ms(&mut self, handle: Resource<LeaseHandle>) -> Result<u64> {
        let lease = self.leases.get(self.table.get(&handle)?);
        Ok(lease.map_or(0, |lease| milliseconds(lease.remaining())))
    }

    async fn renew(&mut self, handle: Resource<LeaseHandle>) -> Result<Result<(), Lost>> {
        let renewed = match self.leases.get_mut(self.table.get(&handle)?) {
            Some(lease) => lease.renew().await,
            None => Err(namelock_lock::Lost::Gone),
        };
        Ok(renewed.map_err(|lost| self.lost(lost)))
    }

    async fn drop(&mut self, handle: Resource<LeaseHandle>) -> Result<()> {
        let handle = self.table.delete(handle)?;
        if let Some(lease) = self.leases.take(&handle) {
            // A guest that only drops its lease does not ask whether it was still held.
            let _ = lease.release().await;
        }
        Ok(())
    }
}

impl<O: Observer> LocksView<'_, O> {
    fn too_many(&mut self) -> AcquireError {
        self.observer.too_many();
        AcquireError::Limit(format!("a call holds at most {} leases at once", self.leases.limit()))
    }

    /// Turns a failed acquire into what the guest is told: enough to act on, nothing about the host.
    fn refused(&mut self, error: &namelock_lock::AcquireError) -> AcquireError {
        self.observer.refused(error);
        match error {
            namelock_lock::AcquireError::Busy { retry_after } => AcquireError::Busy(milliseconds(*retry_after)),
            namelock_lock::AcquireError::InvalidName(_) | namelock_lock::AcquireError::Doubled { .. } => {
                AcquireError::InvalidName(error.to_string())
            }
            namelock_lock::AcquireError::NoEpoch { .. } | namelock_lock::AcquireError::Unavailable { .. } => {
                AcquireError::Unavailable("the lock service cannot grant now".to_owned())
            }
        }
    }

    fn lost(&mut self, lost: namelock_lock::Lost) -> Lost {
        self.observer.lost();
        match lost {
            namelock_lock::Lost::Gone => Lost::Gone,
            namelock_lock::Lost::Unknown => Lost::Unknown,
        }
    }
}
