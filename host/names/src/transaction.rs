//! Several writes as one: all of them are done, or none.

use crate::config::NamesConfig;
use crate::error::{ApplyError, SaveError};
use crate::keep::Keep;
use crate::quota::Quota;
use crate::registration::{Free, Save, Update};
use crate::request::RequestKey;
use crate::rules::{check_save, check_update};
use tokio::time::Instant;

/// One of several writes.
#[derive(Debug, Clone)]
pub enum WriteOne {
    /// Saves a registration.
    Save(Save),
    /// Changes an active registration.
    Update(Update),
    /// Ends an active registration.
    Free(Free),
}

impl WriteOne {
    /// Returns the tenant that the name belongs to.
    pub fn tenant(&self) -> &str {
        match self {
            Self::Save(save) => &save.tenant,
            Self::Update(update) => &update.tenant,
            Self::Free(free) => &free.tenant,
        }
    }

    /// Returns the name that it writes.
    pub fn name(&self) -> &str {
        match self {
            Self::Save(save) => &save.name,
            Self::Update(update) => &update.name,
            Self::Free(free) => &free.name,
        }
    }

    /// Has its lease end at this time, if it does not end before.
    pub(crate) fn no_later_than(mut self, end: Instant) -> Self {
        let deadline = match &mut self {
            Self::Save(save) => &mut save.deadline,
            Self::Update(update) => &mut update.deadline,
            Self::Free(free) => &mut free.deadline,
        };
        *deadline = end.min(*deadline);
        self
    }

    /// Returns until when its lease provably lasts.
    pub fn deadline(&self) -> Instant {
        match self {
            Self::Save(save) => save.deadline,
            Self::Update(update) => update.deadline,
            Self::Free(free) => free.deadline,
        }
    }

    /// Returns what lasts until it is decided whether it is written.
    pub(crate) fn keep(&self) -> &Keep {
        match self {
            Self::Save(save) => &save.keep,
            Self::Update(update) => &update.keep,
            Self::Free(free) => &free.keep,
        }
    }

    pub(crate) fn request(&self) -> Option<RequestKey> {
        match self {
            Self::Save(save) => save.request,
            Self::Update(update) => update.request,
            Self::Free(_) => None,
        }
    }

    fn quota_mut(&mut self) -> Option<&mut Quota> {
        match self {
            Self::Save(save) => Some(&mut save.quota),
            Self::Update(update) => Some(&mut update.quota),
            Self::Free(_) => None,
        }
    }

    fn check(&self, tenant: &str, config: &NamesConfig) -> Result<(), SaveError> {
        if self.tenant() != tenant {
            let reason = format!(
                "the write is one of the tenant {:?}, and not of {tenant:?}",
                self.tenant()
            );
            return Err(SaveError::Invalid { reason });
        }
        match self {
            Self::Save(save) => check_save(save, config),
            Self::Update(update) => check_update(update, config),
            Self::Free(_) => Ok(()),
        }
    }
}

/// Writes that break no rule, each with its place among those that were given, in the order of the bytes of their names: so
/// no two transactions wait for each other.
#[derive(Debug)]
pub(crate) struct Writes {
    pub(crate) writes: Vec<(usize, WriteOne)>,
    /// What the tenant may keep after all of them. No single one is held against its quota.
    pub(crate) quota: Quota,
}

impl Writes {
    /// Checks everything about writes that does not depend on what the database holds.
    pub(crate) fn new(tenant: &str, writes: Vec<WriteOne>, config: &NamesConfig) -> Result<Self, ApplyError> {
        let all = |reason: String| ApplyError::All(SaveError::Invalid { reason });
        if writes.is_empty() {
            return Err(all("there is nothing to write".to_owned()));
        }
        if writes.len() > config.apply_max {
            let max = config.apply_max;
            return Err(all(format!(
                "at most {max} writes are done as one, and not {}",
                writes.len()
            )));
        }
        let mut quota = UNLIMITED;
        let mut writes: Vec<_> = writes.into_iter().enumerate().collect();
        for (index, write) in &mut writes {
            let checked = write.check(tenant, config);
            checked.map_err(|error| ApplyError::Write { index: *index, error })?;
            if let Some(own) = write.quota_mut() {
                quota.registrations = quota.registrations.min(own.registrations);
                quota.bytes = quota.bytes.min(own.bytes);
                *own = UNLIMITED;
            }
        }
        let keys: Vec<_> = writes.iter().map(|(_, write)| write.request()).collect();
        writes.sort_by(|(_, one), (_, other)| one.name().cmp(other.name()));
        for pair in writes.windows(2) {
            if pair[0].1.name() == pair[1].1.name() {
                let reason = format!("the name {:?} is written twice", pair[1].1.name());
                let error = SaveError::Invalid { reason };
                return Err(ApplyError::Write {
                    index: pair[1].0,
                    error,
                });
            }
        }
        let is_used = |index: &usize| {
            let key = keys[*index].map(|request| request.key);
            key.is_some() && keys[..*index].iter().flatten().any(|request| Some(request.key) == key)
        };
        if let Some(index) = (0..keys.len()).find(is_used) {
            let reason = "the key of its request is that of another one".to_owned();
            let error = SaveError::Invalid { reason };
            return Err(ApplyError::Write { index, error });
        }
        Ok(Self { writes, quota })
    }

    /// Returns what lasts until it is decided whether they are written.
    pub(crate) fn keeps(&self) -> impl Iterator<Item = &Keep> {
        self.writes.iter().map(|(_, write)| write.keep())
    }

    /// Returns the write whose lease ends first, and when that is.
    pub(crate) fn first_to_end(&self) -> (usize, Instant) {
        let ends = self.writes.iter().map(|(index, write)| (*index, write.deadline()));
        ends.min_by_key(|(_, deadline)| *deadline)
            .unwrap_or((0, Instant::now()))
    }
}

/// Puts the results of writes back into the order in which the writes were given.
pub(crate) fn in_given_order<T>(mut results: Vec<(usize, T)>) -> Vec<T> {
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

const UNLIMITED: Quota = Quota {
    registrations: u64::MAX,
    bytes: u64::MAX,
};
