//! The interface `names` with the tape of its call.

use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};

use crate::recording::{self, Answer, Noted, Question};
use crate::wit::bindings::namelock::registration::names::{
    self, Change, NamesError, Page, Query, Registration, SaveError, Write,
};
use crate::wit::names::NamesView;
use crate::wit::taped::{Taped, played, returned};
use crate::wit::told::{self, Told};
use namelock_types::milliseconds;
use namelock_wasmtime::LeaseHandle;

struct HasNames;

impl HasData for HasNames {
    type Data<'a> = Taped<'a, NamesView<'a>>;
}

/// Adds the interface to a linker; `view` gets what it needs from the data of a store.
pub(crate) fn add_to_linker<T: Send>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> Taped<'_, NamesView<'_>>,
) -> Result<()> {
    names::add_to_linker::<T, HasNames>(linker, view)
}

impl Taped<'_, NamesView<'_>> {
    /// What a recorded call was told; none: the database is to be asked.
    async fn play<T: Told>(&mut self, question: Question) -> Result<Option<T>> {
        let Some((answer, held_ms)) = played(self.tape, question, self.view.cause).await else {
            return Ok(None);
        };
        self.view.writes.held = held_ms.map(Duration::from_millis);
        // Its handler may return these.
        match &answer {
            Answer::Registration(Some(row)) => self.view.received.record(&row.clone().into()),
            Answer::Registrations(rows) => {
                let rows = rows.iter().flatten().cloned();
                rows.for_each(|row| self.view.received.record(&row.into()));
            }
            _ => {}
        }
        returned(answer).map(Some)
    }

    fn tell(&self, told: &impl Told) {
        self.tape.told(|| {
            let held_ms = self.view.writes.held.map(milliseconds);
            (told.answer(), self.view.cause.map(Noted::from), held_ms)
        });
    }
}

impl names::Host for Taped<'_, NamesView<'_>> {
    async fn find(&mut self, name: String) -> Result<std::result::Result<Option<Registration>, NamesError>> {
        if !self.tape.is_on() {
            return self.view.find(name).await;
        }
        let question = Question::Find { name: name.clone() };
        if let Some(found) = self.play(question).await? {
            return Ok(found);
        }
        let found = self.view.find(name).await?;
        self.tell(&found);
        Ok(found)
    }

    async fn save(
        &mut self,
        lease: Resource<LeaseHandle>,
        owner: String,
        lifetime_ms: Option<u64>,
        attributes: Vec<(String, String)>,
    ) -> Result<std::result::Result<Registration, SaveError>> {
        if !self.tape.is_on() {
            return self.view.save(lease, owner, lifetime_ms, attributes).await;
        }
        let question = Question::Write(recording::Write::Save {
            lease: self.grants.lease(&lease),
            owner: owner.clone(),
            lifetime_ms,
            attributes: attributes.clone(),
        });
        if let Some(saved) = self.play(question).await? {
            return Ok(saved);
        }
        let saved = self.view.save(lease, owner, lifetime_ms, attributes).await?;
        self.tell(&saved);
        Ok(saved)
    }

    async fn update(
        &mut self,
        lease: Resource<LeaseHandle>,
        change: Change,
    ) -> Result<std::result::Result<Option<Registration>, SaveError>> {
        if !self.tape.is_on() {
            return self.view.update(lease, change).await;
        }
        let question = Question::Write(recording::Write::Update {
            lease: self.grants.lease(&lease),
            change: change.clone().into(),
        });
        if let Some(updated) = self.play(question).await? {
            return Ok(updated);
        }
        let updated = self.view.update(lease, change).await?;
        self.tell(&updated);
        Ok(updated)
    }

    async fn free(&mut self, lease: Resource<LeaseHandle>) -> Result<std::result::Result<bool, SaveError>> {
        if !self.tape.is_on() {
            return self.view.free(lease).await;
        }
        let question = Question::Write(recording::Write::Free {
            lease: self.grants.lease(&lease),
        });
        if let Some(freed) = self.play(question).await? {
            return Ok(freed);
        }
        let freed = self.view.free(lease).await?;
        self.tell(&freed);
        Ok(freed)
    }

    async fn apply(&mut self, writes: Vec<Write>) -> Result<std::result::Result<Vec<Option<Registration>>, SaveError>> {
        if !self.tape.is_on() {
            return self.view.apply(writes).await;
        }
        let of_lease = |write: &Write| told::write(self.grants.lease(&write.lease), write.action.clone());
        let question = Question::Apply {
            writes: writes.iter().map(of_lease).collect(),
        };
        if let Some(applied) = self.play(question).await? {
            return Ok(applied);
        }
        let applied = self.view.apply(writes).await?;
        self.tell(&applied);
        Ok(applied)
    }

    async fn list(&mut self, query: Query) -> Result<std::result::Result<Page, NamesError>> {
        if !self.tape.is_on() {
            return self.view.list(query).await;
        }
        let question = Question::List {
            prefix: query.prefix.clone(),
            owner: query.owner.clone(),
            after: query.after.clone(),
            limit: query.limit,
        };
        if let Some(listed) = self.play(question).await? {
            return Ok(listed);
        }
        let listed = self.view.list(query).await?;
        self.tell(&listed);
        Ok(listed)
    }
}
