//! Implements the interface `names`: finding, saving and freeing registrations.

use std::collections::VecDeque;
use std::time::Duration;

use namelock_lock::Lease;
use namelock_names::{Free, Names, Save};
use namelock_types::{FencingToken, check_name};
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::config::Tenant;
use crate::error::Cause;
use crate::leases::{LeaseHandle, Leases};
use crate::wit::bindings::namelock::registration::names::{self, Host, NamesError, Registration, SaveError};

/// How many registrations from the database a call remembers, to check what its handler returns.
const RECEIVED_MAX: usize = 16;

/// What the interface needs of a call.
pub(crate) struct NamesView<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) tenant: &'a Tenant,
    pub(crate) leases: &'a Leases,
    /// The handles of the guest; mutable only because a shared reference to them cannot be sent to another thread.
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) received: &'a mut Received,
    /// Where the cause of a failure is left for whoever renders the call's outcome.
    pub(crate) cause: &'a mut Option<Cause>,
}

/// The registrations that a call has received from the database, at most the last 16.
#[derive(Debug, Default)]
pub(crate) struct Received {
    recent: VecDeque<namelock_names::Registration>,
}

/// The right to write one name under a lease, until a deadline.
struct WriteAuthority {
    name: String,
    fencing_token: FencingToken,
    deadline: Instant,
}

struct HasNames;

impl HasData for HasNames {
    type Data<'a> = NamesView<'a>;
}

/// Adds the interface to a linker; `view` gets what it needs from the data of a store.
pub(crate) fn add_to_linker<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> NamesView<'_>) -> Result<()> {
    names::add_to_linker::<T, HasNames>(linker, view)
}

impl Host for NamesView<'_> {
    async fn find(&mut self, name: String) -> Result<Result<Option<Registration>, NamesError>> {
        // A longer name cannot have been saved.
        if let Err(error) = check_name(&name) {
            return Ok(Err(NamesError::Invalid(error.to_string())));
        }
        Ok(match self.names.find(&self.tenant.id, &name).await {
            Ok(registration) => {
                if let Some(registration) = &registration {
                    self.received.record(registration);
                }
                Ok(registration.map(Registration::from))
            }
            Err(error) => {
                self.unavailable(&error);
                Err(NamesError::Unavailable("the names database does not answer".to_owned()))
            }
        })
    }

    async fn save(
        &mut self,
        lease: Resource<LeaseHandle>,
        owner: String,
        lifetime_ms: Option<u64>,
        attributes: Vec<(String, String)>,
    ) -> Result<Result<Registration, SaveError>> {
        if let Err(reason) = self.check_attributes(&attributes) {
            return Ok(Err(SaveError::Invalid(reason)));
        }
        let Some(authority) = self.write_authority(&lease)? else {
            return Ok(Err(self.lease_lost()));
        };
        let save = Save {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            owner,
            lifetime: lifetime_ms.map(Duration::from_millis),
            attributes,
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
        };
        Ok(match self.names.save(save).await {
            Ok(saved) => {
                self.received.record(&saved);
                Ok(saved.into())
            }
            Err(error) => Err(self.save_error(error)),
        })
    }

    async fn free(&mut self, lease: Resource<LeaseHandle>) -> Result<Result<bool, SaveError>> {
        let Some(authority) = self.write_authority(&lease)? else {
            return Ok(Err(self.lease_lost()));
        };
        let free = Free {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
        };
        let freed = self.names.free(free).await;
        Ok(freed.map_err(|error| self.save_error(error)))
    }
}

impl NamesView<'_> {
    /// Returns the right to write the name of a lease; none where the lease may end before a write does.
    // Keeps P5: a write begins only under a lease that provably lasts for as long as the database may take.
    fn write_authority(&self, handle: &Resource<LeaseHandle>) -> Result<Option<WriteAuthority>> {
        let lease = self.leases.get(self.table.get(handle)?);
        let lasts = |lease: &&Lease| lease.remaining() > self.names.deadline();
        Ok(lease.filter(lasts).map(|lease| WriteAuthority {
            name: lease.name().to_owned(),
            fencing_token: lease.fencing_token(),
            deadline: lease.deadline(),
        }))
    }

    fn check_attributes(&self, attributes: &[(String, String)]) -> Result<(), String> {
        let limits = &self.tenant.limits;
        if attributes.len() > limits.attributes {
            return Err(format!("there are at most {} attributes", limits.attributes));
        }
        let bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        let limit = limits.attribute_bytes;
        if bytes > limit {
            return Err(format!("all attributes together are at most {limit} bytes long"));
        }
        Ok(())
    }

    /// Turns a failed write into what the guest is told: enough to act on, nothing about the host.
    fn save_error(&mut self, error: namelock_names::SaveError) -> SaveError {
        match error {
            namelock_names::SaveError::Taken(registration) => SaveError::Taken((*registration).into()),
            namelock_names::SaveError::LeaseLost => self.lease_lost(),
            namelock_names::SaveError::Invalid { reason } => SaveError::Invalid(reason),
            namelock_names::SaveError::Unavailable { .. } => {
                self.unavailable(&error);
                SaveError::Unavailable("the names database does not answer".to_owned())
            }
        }
    }

    fn lease_lost(&mut self) -> SaveError {
        *self.cause = Some(Cause::LeaseLost);
        SaveError::LeaseLost
    }

    fn unavailable(&mut self, error: &(dyn std::error::Error + 'static)) {
        *self.cause = Some(Cause::NamesUnavailable);
        tracing::warn!(tenant = &*self.tenant.id, error, "the names database could not be used");
    }
}

impl Received {
    fn record(&mut self, registration: &namelock_names::Registration) {
        if self.recent.len() == RECEIVED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(registration.clone());
    }

    /// Returns the registration that a handler returned, if the database gave it to this call: nobody is told of a
    /// registration that was never saved.
    pub(crate) fn confirm(&self, returned: Registration) -> Option<namelock_names::Registration> {
        let returned = namelock_names::Registration::from(returned);
        self.recent.contains(&returned).then_some(returned)
    }
}
