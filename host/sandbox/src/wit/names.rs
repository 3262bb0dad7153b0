//! Implements the interface `names`: finding, saving and freeing registrations.

use std::collections::VecDeque;
use std::time::Duration;

use namelock_account::Limit;
use namelock_lock::Lease;
use namelock_names::{Free, Names, Save};
use namelock_types::{FencingToken, check_name};
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::config::Tenant;
use crate::database_time::DatabaseTime;
use crate::error::Cause;
use crate::leases::{LeaseHandle, Leases};
use crate::service::Service;
use crate::wit::bindings::namelock::registration::names::{self, Host, NamesError, Registration, SaveError};
use crate::wit::convert::limit_of;

/// How many registrations from the database a call remembers, to check what its handler returns.
const RECEIVED_MAX: usize = 16;

/// What the interface needs of a call.
pub(crate) struct NamesView<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) service: &'a Service,
    pub(crate) tenant: &'a Tenant,
    /// How many writes the call has begun.
    pub(crate) writes: &'a mut u32,
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
        if let Err(after) = self.tenant.account.read() {
            *self.cause = Some(Cause::Limit(Limit::ReadRate, Some(after)));
            return Ok(Err(NamesError::Unavailable(
                "the tenant reads faster than it may".to_owned(),
            )));
        }
        let time = self.database_time();
        let found = self.names.find(&self.tenant.id, &name).await;
        drop(time);
        Ok(match found {
            Ok(registration) => {
                self.service.answered();
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
        if let Err(refused) = self.begin_write() {
            return Ok(Err(refused));
        }
        let save = Save {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            owner,
            lifetime: lifetime_ms.map(Duration::from_millis),
            attributes,
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
            quota: self.tenant.limits.quota,
        };
        let time = self.database_time();
        let saved = self.names.save(save).await;
        drop(time);
        Ok(match saved {
            Ok(saved) => {
                self.service.answered();
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
        if let Err(refused) = self.begin_write() {
            return Ok(Err(refused));
        }
        let free = Free {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
        };
        let time = self.database_time();
        let freed = self.names.free(free).await;
        drop(time);
        if freed.is_ok() {
            self.service.answered();
        }
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

    /// Takes one write of what the call and its tenant may write.
    // Keeps P6: a tenant writes no more than it may, however many calls it has.
    fn begin_write(&mut self) -> std::result::Result<(), SaveError> {
        let most = self.tenant.limits.writes;
        if *self.writes >= most {
            self.tenant.account.refuse(Limit::Writes);
            let reason = format!("a call writes at most {most} times");
            return Err(self.limit_reached(Limit::Writes, None, reason));
        }
        if let Err(after) = self.tenant.account.write() {
            let reason = "the tenant writes faster than it may".to_owned();
            return Err(self.limit_reached(Limit::WriteRate, Some(after), reason));
        }
        *self.writes += 1;
        Ok(())
    }

    /// Refuses a write because of a limit: the host answers its caller with the code of the limit if the handler gives
    /// up.
    fn limit_reached(&mut self, limit: Limit, after: Option<Duration>, reason: String) -> SaveError {
        *self.cause = Some(Cause::Limit(limit, after));
        SaveError::Unavailable(reason)
    }

    fn database_time(&self) -> DatabaseTime<'_> {
        DatabaseTime::begin(&self.tenant.account)
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
            namelock_names::SaveError::Quota(kind) => {
                let limit = limit_of(kind);
                self.tenant.account.refuse(limit);
                self.limit_reached(limit, None, error.to_string())
            }
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

    fn unavailable(&mut self, error: &dyn std::error::Error) {
        *self.cause = Some(Cause::NamesUnavailable);
        self.service.failed(&error.to_string());
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
