//! What goes to the server in batches: reads of names, and saves of tenants that are far from their quota.
//!
//! A batch of saves is one statement, so all of it is written or nothing. A save that changes nothing, because its name is taken
//! or a newer lease has written it, is no error of the statement: it has no row in the answer, and the others are saved.
//! Where a lease has ended on the way, or the server refuses the statement for something that may be wrong with one of the rows,
//! nothing was written, and each of the saves is asked for alone.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::error::{NamesError, SaveError};
use crate::keep::Keep;
use crate::postgres::batches::{Batches, Full, Sends};
use crate::postgres::parameters::Stored;
use crate::postgres::rows::{NameRow, Times, name_row, saved};
use crate::postgres::server::{Server, refused, unavailable};
use crate::postgres::sql::is_too_late;
use crate::postgres::statement::{One, StatementError, Work, parameters};
use crate::postgres::time::Until;
use crate::registration::Save;
use crate::rules::stored_ms;

/// Saves registrations.
pub(super) struct Saves(pub(super) Arc<Server>);

/// Reads the rows of names.
pub(super) struct Finds(pub(super) Arc<Server>);

/// A registration to be saved.
#[derive(Clone)]
pub(super) struct ToSave {
    name: String,
    owner: String,
    lifetime_ms: Option<i64>,
    token: i64,
    attributes: String,
    /// After when it may not be written.
    until: Instant,
    keep: Keep,
}

/// Why a save of a batch has no answer.
#[derive(Debug, Clone)]
pub(super) enum NotAsked {
    /// Nothing of the batch was written, which may be because of another one of it.
    Together,
    Refused(SaveError),
}

impl ToSave {
    pub(super) fn of(save: &Save, stored: &Stored, until: Instant) -> Self {
        Self {
            name: save.name.clone(),
            owner: save.owner.clone(),
            lifetime_ms: save.lifetime.map(stored_ms),
            token: stored.token,
            attributes: stored.attributes.clone(),
            until,
            keep: save.keep.clone(),
        }
    }
}

impl Sends for Saves {
    type Request = ToSave;
    /// When it begins and ends; none: nothing was changed.
    type Answer = Result<Option<Times>, NotAsked>;

    fn key(new: &ToSave) -> Option<&str> {
        // A statement cannot write a row twice.
        Some(&new.name)
    }

    async fn send(&self, tenant: &str, all: Vec<ToSave>) -> Vec<Self::Answer> {
        let answers = match self.ask(tenant, &all).await {
            Ok(answers) => answers,
            Err(error) => return all.iter().map(|_| Err(error.clone())).collect(),
        };
        all.iter().map(|new| Ok(answers.get(&new.name).copied())).collect()
    }
}

impl Saves {
    async fn ask(&self, tenant: &str, all: &[ToSave]) -> Result<HashMap<String, Times>, NotAsked> {
        // In one order everywhere, so that no two statements wait for each other's rows.
        let mut sorted: Vec<_> = all.iter().collect();
        sorted.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let until = all.iter().map(|new| new.until).min().unwrap_or_else(Instant::now);
        fn column<T>(of: &[&ToSave], value: impl Fn(&ToSave) -> T) -> Vec<T> {
            of.iter().map(|new| value(new)).collect()
        }
        let parameters = parameters![
            tenant.to_owned(),
            column(&sorted, |new| new.name.clone().into_bytes()),
            column(&sorted, |new| new.owner.clone().into_bytes()),
            column(&sorted, |new| new.lifetime_ms),
            column(&sorted, |new| new.token),
            column(&sorted, |new| new.attributes.clone()),
            self.0.now(),
            Until(until),
        ];
        let one = One {
            work: Work::Write(until),
            sql: Arc::clone(&self.0.sql.save_many),
            parameters,
            check: None,
            _keeps: all.iter().map(|new| new.keep.clone()).collect(),
        };
        let answer = self.0.ask(tenant, one.work, one).await;
        let answer = answer.map_err(|error| match error {
            error if all.len() > 1 && may_be_of_one(&error) => NotAsked::Together,
            error => NotAsked::Refused(refused(error)),
        })?;
        let rows = answer.rows.iter().map(saved).collect::<Result<_, _>>();
        rows.map_err(|error| NotAsked::Refused(error.into()))
    }
}

impl Sends for Finds {
    type Request = String;
    type Answer = Result<Option<NameRow>, NamesError>;

    fn key(_: &String) -> Option<&str> {
        None
    }

    async fn send(&self, tenant: &str, names: Vec<String>) -> Vec<Self::Answer> {
        let rows = self.ask(tenant, &names).await;
        let row = |name| rows.as_ref().map(|rows| rows.get(name).cloned());
        names.iter().map(|name| row(name).map_err(Clone::clone)).collect()
    }
}

impl Finds {
    async fn ask(&self, tenant: &str, names: &[String]) -> Result<HashMap<String, NameRow>, NamesError> {
        let bytes: Vec<_> = names.iter().map(|name| name.clone().into_bytes()).collect();
        let parameters = parameters![tenant.to_owned(), bytes, self.0.now()];
        let answer = self.0.ask_one(tenant, Work::Read, &self.0.sql.rows, parameters).await;
        let answer = answer.map_err(unavailable)?;
        let rows = answer.rows.iter().map(|row| name_row(tenant, row));
        rows.map(|row| row.map(|row| (row.registration.name.clone(), row)))
            .collect()
    }
}

impl Batches<Saves> {
    /// Saves one, if its name can be had.
    pub(super) async fn save(
        &self,
        server: &Server,
        save: &Save,
        stored: &Stored,
        until: Instant,
    ) -> Result<Option<Times>, SaveError> {
        let new = ToSave::of(save, stored, until);
        let full = |error: Full| NamesError::unavailable(error.to_string());
        let mut answer = self.ask(&save.tenant, new.clone()).await.map_err(full)?;
        if matches!(answer, Some(Err(NotAsked::Together))) {
            answer = self.ask_alone(&save.tenant, new).await;
        }
        match answer {
            Some(Ok(times)) => Ok(times),
            Some(Err(NotAsked::Refused(error))) => Err(error),
            // One that is alone is no batch.
            Some(Err(NotAsked::Together)) | None => Err(NamesError::unavailable(server.pool.no_answer()).into()),
        }
    }
}

impl Batches<Finds> {
    /// Reads the row of a name.
    pub(super) async fn row(&self, server: &Server, tenant: &str, name: &str) -> Result<Option<NameRow>, NamesError> {
        let no_answer = || NamesError::unavailable(server.pool.no_answer());
        let asked = tokio::time::timeout(server.pool.deadline(), self.ask(tenant, name.to_owned())).await;
        let answer = asked.map_err(|_| no_answer())?;
        let answer = answer.map_err(|full| NamesError::unavailable(full.to_string()))?;
        answer.unwrap_or_else(|| Err(no_answer()))
    }
}

/// Whether nothing was written, and what is wrong may be so with only one of the rows: its lease, its values (classes 22 and 23 of
/// SQLSTATE), or who else has its row (40).
fn may_be_of_one(error: &StatementError) -> bool {
    match error {
        StatementError::LeaseLost => true,
        StatementError::Server(error) => {
            let is_of_class = |state: &SqlState| ["22", "23", "40"].iter().any(|class| state.code().starts_with(class));
            is_too_late(error) || error.code().is_some_and(is_of_class)
        }
        StatementError::Connect(_) | StatementError::Closed | StatementError::Moved | StatementError::NoAnswer(_) => {
            false
        }
    }
}
