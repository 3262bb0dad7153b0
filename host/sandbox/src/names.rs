//! What a guest can do with names.

use std::time::Duration;

use namelock_lock::Lease;
use namelock_names::{Free, Save};
use namelock_types::{FencingToken, check_name};
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::namelock::registration::names::{Host, NamesError, Registration, SaveError};
use crate::error::Cause;
use crate::state::{LeaseHandle, State};

/// The lease under which something is written.
struct Warrant {
    name: String,
    fencing_token: FencingToken,
    deadline: Instant,
}

impl Host for State {
    async fn find(&mut self, name: String) -> Result<Result<Option<Registration>, NamesError>> {
        // One that is longer cannot have been saved.
        if let Err(error) = check_name(&name) {
            return Ok(Err(NamesError::Invalid(error.to_string())));
        }
        Ok(match self.names.find(&self.tenant.id, &name).await {
            Ok(found) => {
                if let Some(found) = &found {
                    self.give(found);
                }
                Ok(found.map(Registration::from))
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
        if let Some(reason) = self.refuse_attributes(&attributes) {
            return Ok(Err(SaveError::Invalid(reason)));
        }
        let Some(warrant) = self.warrant(&lease)? else {
            return Ok(Err(self.lease_lost()));
        };
        let save = Save {
            tenant: self.tenant.id.to_string(),
            name: warrant.name,
            owner,
            lifetime: lifetime_ms.map(Duration::from_millis),
            attributes,
            fencing_token: warrant.fencing_token,
            deadline: warrant.deadline,
        };
        Ok(match self.names.save(save).await {
            Ok(saved) => {
                self.give(&saved);
                Ok(saved.into())
            }
            Err(error) => Err(self.save_error(error)),
        })
    }

    async fn free(&mut self, lease: Resource<LeaseHandle>) -> Result<Result<bool, SaveError>> {
        let Some(warrant) = self.warrant(&lease)? else {
            return Ok(Err(self.lease_lost()));
        };
        let free = Free {
            tenant: self.tenant.id.to_string(),
            name: warrant.name,
            fencing_token: warrant.fencing_token,
            deadline: warrant.deadline,
        };
        let freed = self.names.free(free).await;
        Ok(freed.map_err(|error| self.save_error(error)))
    }
}

impl State {
    /// The right to write the name of a lease, while the lease provably lasts for as long as the database may take.
    fn warrant(&mut self, handle: &Resource<LeaseHandle>) -> Result<Option<Warrant>> {
        let lease = self.leases.get(self.table.get(handle)?);
        let suffices = |lease: &&Lease| lease.remaining() > self.names.deadline();
        Ok(lease.filter(suffices).map(|lease| Warrant {
            name: lease.name().to_owned(),
            fencing_token: lease.fencing_token(),
            deadline: lease.deadline(),
        }))
    }

    fn refuse_attributes(&self, attributes: &[(String, String)]) -> Option<String> {
        let limits = &self.tenant.limits;
        if attributes.len() > limits.attributes {
            return Some(format!("there are at most {} attributes", limits.attributes));
        }
        let bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        let limit = limits.attribute_bytes;
        (bytes > limit).then(|| format!("all attributes together are at most {limit} bytes long"))
    }

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
        self.cause = Some(Cause::LeaseLost);
        SaveError::LeaseLost
    }

    fn unavailable(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.cause = Some(Cause::NamesUnavailable);
        tracing::warn!(tenant = &*self.tenant.id, error, "the names database could not be used");
    }
}

impl From<namelock_names::Registration> for Registration {
    fn from(registration: namelock_names::Registration) -> Self {
        Self {
            name: registration.name,
            owner: registration.owner,
            created_ms: registration.created_ms,
            expires_ms: registration.expires_ms,
            fencing_token: registration.fencing_token.get(),
            attributes: registration.attributes,
        }
    }
}

impl From<Registration> for namelock_names::Registration {
    fn from(registration: Registration) -> Self {
        Self {
            name: registration.name,
            owner: registration.owner,
            created_ms: registration.created_ms,
            expires_ms: registration.expires_ms,
            fencing_token: FencingToken::new(registration.fencing_token),
            attributes: registration.attributes,
        }
    }
}
