//! Implements the interface `names`: finding and listing registrations here, writing them in `writes`.

use std::collections::VecDeque;

use namelock_account::Limit;
use namelock_names::{ListQuery, Names, Seen, WriteOne};
use namelock_types::{LengthError, check_name, check_owner};
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};

use crate::config::Tenant;
use crate::database_time::DatabaseTime;
use crate::error::Cause;
use crate::phases::{Phase, Phases};
use crate::service::Service;
use crate::wit::bindings::namelock::registration::names::{
    Action, Change, Host, NamesError, New, Page, Query, Registration, SaveError, Write,
};
use crate::wit::locks::Leases;
use crate::wit::written::{Writes, one_error};
use namelock_wasmtime::LeaseHandle;

/// How many registrations from the database a call remembers, to check what its handler returns.
const RECEIVED_MAX: usize = 16;

/// The most registrations of one page.
const LIMIT_MAX: u32 = 1000;

/// What the interface needs of a call.
pub(crate) struct NamesView<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) service: &'a Service,
    pub(crate) tenant: &'a Tenant,
    pub(crate) phases: &'a Phases,
    pub(crate) writes: &'a mut Writes,
    pub(crate) leases: &'a mut Leases,
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

impl Host for NamesView<'_> {
    async fn find(&mut self, name: String) -> Result<Result<Option<Registration>, NamesError>> {
        // A longer name cannot have been saved.
        if let Err(error) = check_name(&name) {
            return Ok(Err(NamesError::Invalid(error.to_string())));
        }
        if let Err(refused) = self.begin_read() {
            return Ok(Err(refused));
        }
        let time = self.database_time(Phase::Find);
        let found = self.names.find(&self.tenant.id, &name).await;
        drop(time);
        Ok(match found {
            Ok(found) => {
                self.service.answered();
                if found.is_none() {
                    self.saw(&name, None);
                }
                Ok(found.map(|registration| self.receive(registration)))
            }
            Err(error) => Err(self.names_error(&error)),
        })
    }

    async fn save(
        &mut self,
        lease: Resource<LeaseHandle>,
        owner: String,
        lifetime_ms: Option<u64>,
        attributes: Vec<(String, String)>,
    ) -> Result<Result<Registration, SaveError>> {
        let new = New {
            owner,
            lifetime_ms,
            attributes,
        };
        let save = match self.save_of(&lease, new)? {
            Ok(save) => save,
            Err(refused) => return Ok(Err(refused)),
        };
        let request = save.request;
        let time = self.database_time(Phase::Save);
        let saved = self.names.save(save).await;
        drop(time);
        Ok(self.written(saved, request).map(|saved| self.receive(saved)))
    }

    async fn update(
        &mut self,
        lease: Resource<LeaseHandle>,
        change: Change,
    ) -> Result<Result<Option<Registration>, SaveError>> {
        let update = match self.update_of(&lease, change)? {
            Ok(update) => update,
            Err(refused) => return Ok(Err(refused)),
        };
        let (request, name) = (update.request, update.name.clone());
        let time = self.database_time(Phase::Save);
        let updated = self.names.update(update).await;
        drop(time);
        if let Ok(None) = updated {
            self.saw(&name, None);
        }
        let request = request.filter(|_| !matches!(updated, Ok(None)));
        let updated = self.written(updated, request);
        Ok(updated.map(|updated| updated.map(|registration| self.receive(registration))))
    }

    async fn free(&mut self, lease: Resource<LeaseHandle>) -> Result<Result<bool, SaveError>> {
        let free = match self.free_of(&lease)? {
            Ok(free) => free,
            Err(refused) => return Ok(Err(refused)),
        };
        let (time, name) = (self.database_time(Phase::Save), free.name.clone());
        let freed = self.names.free(free).await;
        drop(time);
        if freed.is_ok() {
            self.saw(&name, None);
        }
        Ok(self.written(freed, None))
    }

    async fn apply(&mut self, writes: Vec<Write>) -> Result<Result<Vec<Option<Registration>>, SaveError>> {
        let most = self.tenant.limits.leases;
        if !(1..=most).contains(&writes.len()) {
            let reason = format!("1 to {most} writes are done together, and these are {}", writes.len());
            return Ok(Err(SaveError::Invalid(reason)));
        }
        let mut all = Vec::with_capacity(writes.len());
        let mut request = None;
        for Write { lease, action } in writes {
            let write = match action {
                Action::Save(new) => self.save_of(&lease, new)?.map(WriteOne::Save),
                Action::Update(change) => self.update_of(&lease, change)?.map(WriteOne::Update),
                Action::Free => self.free_of(&lease)?.map(WriteOne::Free),
            };
            let mut write = match write {
                Ok(write) => write,
                Err(refused) => return Ok(Err(refused)),
            };
            let of_write = match &mut write {
                WriteOne::Save(save) => &mut save.request,
                WriteOne::Update(update) => &mut update.request,
                WriteOne::Free(_) => &mut None,
            };
            // The first one that leaves a registration takes it along.
            match request {
                Some(_) => *of_write = None,
                None => request = *of_write,
            }
            all.push(write);
        }
        let names: Vec<_> = all.iter().map(|write| write.name().to_owned()).collect();
        let time = self.database_time(Phase::Save);
        let applied = self.names.apply(&self.tenant.id, all).await;
        drop(time);
        for (name, written) in names.iter().zip(applied.iter().flatten()) {
            if written.is_none() {
                self.saw(name, None);
            }
        }
        let applied = self.written(applied.map_err(one_error), request);
        Ok(applied.map(|all| {
            let received = all
                .into_iter()
                .map(|one| one.map(|registration| self.receive(registration)));
            received.collect()
        }))
    }

    async fn list(&mut self, query: Query) -> Result<Result<Page, NamesError>> {
        if let Err(reason) = check_query(&query) {
            return Ok(Err(NamesError::Invalid(reason)));
        }
        if let Err(refused) = self.begin_read() {
            return Ok(Err(refused));
        }
        let query = ListQuery {
            tenant: self.tenant.id.to_string(),
            prefix: query.prefix,
            owner: query.owner,
            after: query.after,
            limit: query.limit as usize,
        };
        let time = self.database_time(Phase::Find);
        let listed = self.names.list(query).await;
        drop(time);
        Ok(match listed {
            Ok(page) => {
                self.service.answered();
                Ok(Page {
                    registrations: page.registrations.into_iter().map(Registration::from).collect(),
                    next: page.next,
                })
            }
            Err(error) => Err(self.names_error(&error)),
        })
    }
}

/// Checks what the database would find nothing for, or too much.
fn check_query(query: &Query) -> std::result::Result<(), String> {
    let check =
        |check: Option<std::result::Result<(), LengthError>>| check.transpose().map_err(|error| error.to_string());
    check(
        Some(query.prefix.as_str())
            .filter(|prefix| !prefix.is_empty())
            .map(check_name),
    )?;
    check(query.owner.as_deref().map(check_owner))?;
    check(query.after.as_deref().map(check_name))?;
    if !(1..=LIMIT_MAX).contains(&query.limit) {
        return Err(format!(
            "a page has 1 to {LIMIT_MAX} registrations, and not {}",
            query.limit
        ));
    }
    Ok(())
}

impl NamesView<'_> {
    /// Takes one read of what the tenant's handlers may read.
    // Keeps P6: a tenant reads no more than it may, however many calls it has.
    fn begin_read(&mut self) -> std::result::Result<(), NamesError> {
        self.tenant.account.read().map_err(|after| {
            *self.cause = Some(Cause::Limit(Limit::ReadRate, Some(after)));
            NamesError::Unavailable("the tenant reads faster than it may".to_owned())
        })
    }

    /// Notes a registration that the database gave to this call: its handler may return it, and decides on it.
    fn receive(&mut self, registration: namelock_names::Registration) -> Registration {
        self.saw(&registration.name, Some(&registration));
        self.received.record(&registration);
        registration.into()
    }

    /// Notes what the database has said of a name; none: it has no active registration.
    pub(super) fn saw(&mut self, name: &str, found: Option<&namelock_names::Registration>) {
        let seen = found.map_or(Seen::Free, |found| Seen::Registered(found.fencing_token));
        // Before the call has the lease on it, what it reads says nothing: others may write.
        if let Some(note) = self.leases.note_of(name) {
            *note = seen;
        }
    }

    fn names_error(&mut self, error: &namelock_names::NamesError) -> NamesError {
        self.unavailable(error);
        NamesError::Unavailable("the names database does not answer".to_owned())
    }

    fn database_time(&self, phase: Phase) -> DatabaseTime<'_> {
        DatabaseTime::begin(&self.tenant.account, self.phases, phase)
    }

    pub(super) fn unavailable(&mut self, error: &dyn std::error::Error) {
        *self.cause = Some(Cause::NamesUnavailable);
        self.service.failed(&error.to_string());
    }
}

impl Received {
    pub(super) fn record(&mut self, registration: &namelock_names::Registration) {
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
