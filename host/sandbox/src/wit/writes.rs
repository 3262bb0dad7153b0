//! Writes of a call: what each needs before it begins, and what becomes of its result.

use std::time::Duration;

use namelock_account::Limit;
use namelock_lock::Lease;
use namelock_names::{Free, Keep, PastRequest, RequestKey, Save, Seen, Update};
use namelock_types::FencingToken;
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::names::NamesView;
use crate::error::Cause;
use crate::wit::bindings::namelock::registration::names::{self, Change, New, SaveError};
use crate::wit::convert::limit_of;
use namelock_wasmtime::LeaseHandle;

/// The right to write one name under a lease, until a deadline.
struct WriteAuthority {
    name: String,
    fencing_token: FencingToken,
    deadline: Instant,
    seen: Seen,
    keep: Keep,
}

impl NamesView<'_> {
    pub(super) fn save_of(
        &mut self,
        lease: &Resource<LeaseHandle>,
        new: New,
    ) -> Result<std::result::Result<Save, SaveError>> {
        self.writes.held = None;
        if let Err(reason) = self.check_attributes(&new.attributes) {
            return Ok(Err(SaveError::Invalid(reason)));
        }
        Ok(self.begin_write(lease)?.map(|authority| Save {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            owner: new.owner,
            lifetime: new.lifetime_ms.map(Duration::from_millis),
            attributes: new.attributes,
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
            quota: self.tenant.limits.quota,
            hold: self.tenant.hold,
            request: self.writes.request,
            keep: authority.keep,
        }))
    }

    pub(super) fn update_of(
        &mut self,
        lease: &Resource<LeaseHandle>,
        change: Change,
    ) -> Result<std::result::Result<Update, SaveError>> {
        if let Err(reason) = self.check_attributes(change.attributes.as_deref().unwrap_or_default()) {
            return Ok(Err(SaveError::Invalid(reason)));
        }
        Ok(self.begin_write(lease)?.map(|authority| Update {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            change: change.into(),
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
            quota: self.tenant.limits.quota,
            request: self.writes.request,
            seen: authority.seen,
            keep: authority.keep,
        }))
    }

    pub(super) fn free_of(&mut self, lease: &Resource<LeaseHandle>) -> Result<std::result::Result<Free, SaveError>> {
        Ok(self.begin_write(lease)?.map(|authority| Free {
            tenant: self.tenant.id.to_string(),
            name: authority.name,
            fencing_token: authority.fencing_token,
            deadline: authority.deadline,
            seen: authority.seen,
            keep: authority.keep,
        }))
    }

    /// Takes one write of what the call and its tenant may write, and returns the right to write the name of the lease.
    // Keeps P6: a tenant writes no more than it may, however many calls it has.
    fn begin_write(&mut self, lease: &Resource<LeaseHandle>) -> Result<std::result::Result<WriteAuthority, SaveError>> {
        let Some(authority) = self.write_authority(lease)? else {
            return Ok(Err(self.lease_lost()));
        };
        let most = self.tenant.limits.writes;
        if self.writes.begun >= most {
            self.tenant.account.refuse(Limit::Writes);
            let reason = format!("a call writes at most {most} times");
            return Ok(Err(self.limit_reached(Limit::Writes, None, reason)));
        }
        if let Err(after) = self.tenant.account.write() {
            let reason = "the tenant writes faster than it may".to_owned();
            return Ok(Err(self.limit_reached(Limit::WriteRate, Some(after), reason)));
        }
        self.writes.begun += 1;
        Ok(Ok(authority))
    }

    /// Returns the right to write the name of a lease; none where the lease may end before a write does.
    // Keeps P5: a write begins only under a lease that provably lasts for as long as the database may take.
    fn write_authority(&self, handle: &Resource<LeaseHandle>) -> Result<Option<WriteAuthority>> {
        let handle = self.table.get(handle)?;
        let lasts = |lease: &&Lease| lease.remaining() > self.names.deadline();
        let Some(lease) = self.leases.get(handle).filter(lasts) else {
            return Ok(None);
        };
        // Keeps P1: nobody else has the name, or runs the request again, while it is open whether this writes.
        let mut keep = self.writes.keep.clone();
        keep.add(lease.keep());
        Ok(Some(WriteAuthority {
            name: lease.name().to_owned(),
            fencing_token: lease.fencing_token(),
            deadline: lease.deadline(),
            seen: self.leases.note(handle).copied().unwrap_or_default(),
            keep,
        }))
    }

    /// Notes what became of a write, for which `request` was to be remembered.
    pub(super) fn written<T>(
        &mut self,
        result: std::result::Result<T, namelock_names::SaveError>,
        request: Option<RequestKey>,
    ) -> std::result::Result<T, SaveError> {
        match result {
            Ok(written) => {
                self.service.answered();
                if request.is_some() {
                    self.writes.request = None;
                }
                Ok(written)
            }
            Err(error) => Err(self.save_error(error)),
        }
    }

    /// Turns a failed write into what the guest is told: enough to act on, nothing about the host.
    fn save_error(&mut self, error: namelock_names::SaveError) -> SaveError {
        match error {
            namelock_names::SaveError::Taken(registration) => {
                self.saw(&registration.name, Some(&registration));
                SaveError::Taken((*registration).into())
            }
            namelock_names::SaveError::Held { last, retry_after } => {
                self.writes.held = Some(retry_after);
                SaveError::Taken((*last).into())
            }
            namelock_names::SaveError::Replayed(registration) => {
                let told = names::Registration::from((*registration).clone());
                self.writes.past_request = PastRequest::Replayed(registration);
                SaveError::Taken(told)
            }
            namelock_names::SaveError::KeyReused => {
                self.writes.past_request = PastRequest::KeyReused;
                SaveError::Unavailable(error.to_string())
            }
            namelock_names::SaveError::LeaseLost => self.lease_lost(),
            namelock_names::SaveError::Invalid { reason } => SaveError::Invalid(reason),
            namelock_names::SaveError::Quota(kind) => {
                let limit = limit_of(kind);
                self.tenant.account.refuse(limit);
                self.limit_reached(limit, None, error.to_string())
            }
            namelock_names::SaveError::Unavailable { .. } | namelock_names::SaveError::Moved => {
                self.unavailable(&error);
                SaveError::Unavailable("the names database does not answer".to_owned())
            }
        }
    }

    fn check_attributes(&self, attributes: &[(String, String)]) -> std::result::Result<(), String> {
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

    /// Refuses a write because of a limit: the host answers its caller with the code of the limit if the handler gives
    /// up.
    fn limit_reached(&mut self, limit: Limit, after: Option<Duration>, reason: String) -> SaveError {
        *self.cause = Some(Cause::Limit(limit, after));
        SaveError::Unavailable(reason)
    }

    fn lease_lost(&mut self) -> SaveError {
        *self.cause = Some(Cause::LeaseLost);
        SaveError::LeaseLost
    }
}
