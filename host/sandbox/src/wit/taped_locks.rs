//! The interface `locks` with the tape of its call.

use wasmtime::component::{HasData, Linker, Resource, ResourceTableError};
use wasmtime::{Error, Result};

use crate::phases::Phase;
use crate::recording::{Answer, Noted, Play, Question};
use crate::wit::locks::LocksView;
use crate::wit::taped::{Taped, played, returned};
use crate::wit::told::Told;
use namelock_wasmtime::LeaseHandle;
use namelock_wasmtime::bindings::namelock::registration::locks::{self, AcquireError, HostLease as _, Lost};

type Granted = std::result::Result<Vec<Resource<LeaseHandle>>, AcquireError>;

struct HasLocks;

impl HasData for HasLocks {
    type Data<'a> = Taped<'a, LocksView<'a>>;
}

/// Adds the interface to a linker; `view` gets what it needs from the data of a store.
pub(crate) fn add_to_linker<T: Send>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> Taped<'_, LocksView<'_>>,
) -> Result<()> {
    locks::add_to_linker::<T, HasLocks>(linker, view)
}

impl Taped<'_, LocksView<'_>> {
    async fn play(&mut self, question: Question) -> Option<Answer> {
        let (answer, _) = played(self.tape, question, self.view.observer.cause).await?;
        Some(answer)
    }

    fn tell(&self, answer: impl FnOnce() -> Answer) {
        self.tape
            .told(|| (answer(), self.view.observer.cause.map(Noted::from), None));
    }

    /// Returns the leases that a recorded call was granted.
    fn replay_grant(&mut self, names: &[String], answer: Answer) -> Result<Granted> {
        match answer {
            Answer::Granted { fencing_tokens } if fencing_tokens.len() == names.len() => {
                let leases = self.grants.replay(self.view.table, names, &fencing_tokens)?;
                Ok(Ok(leases))
            }
            Answer::NoHandle => Err(ResourceTableError::Full.into()),
            answer => returned(answer).map(Err),
        }
    }

    /// Notes the leases that this call was granted.
    fn note_grant(&mut self, names: &[String], granted: Result<Granted>) -> Result<Granted> {
        match &granted {
            Ok(Ok(leases)) => {
                let token = |lease: &Resource<LeaseHandle>| self.view.fencing_token(Resource::new_borrow(lease.rep()));
                let fencing_tokens = leases.iter().map(token).collect::<Result<Vec<_>>>()?;
                self.grants.note(names, leases, &fencing_tokens);
                self.tell(|| Answer::Granted { fencing_tokens });
            }
            Ok(Err(error)) => self.tell(|| error.answer()),
            Err(error) if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) => {
                self.tell(|| Answer::NoHandle);
            }
            Err(_) => {}
        }
        granted
    }
}

impl locks::Host for Taped<'_, LocksView<'_>> {
    async fn acquire(
        &mut self,
        name: String,
        wait_ms: u32,
    ) -> Result<std::result::Result<Resource<LeaseHandle>, AcquireError>> {
        let _phase = self.phases.within(Phase::Acquire);
        if !self.tape.is_on() {
            return self.view.acquire(name, wait_ms).await;
        }
        let names = [name.clone()];
        let question = Question::Acquire {
            name: name.clone(),
            wait_ms,
        };
        let granted = match self.play(question).await {
            Some(answer) => self.replay_grant(&names, answer)?,
            None => {
                let granted = self.view.acquire(name, wait_ms).await;
                self.note_grant(&names, granted.map(|granted| granted.map(|lease| vec![lease])))?
            }
        };
        Ok(match granted {
            Ok(leases) => Ok(leases.into_iter().next().ok_or_else(|| Error::msg("no lease"))?),
            Err(error) => Err(error),
        })
    }

    async fn acquire_all(&mut self, names: Vec<String>, wait_ms: u32) -> Result<Granted> {
        let _phase = self.phases.within(Phase::Acquire);
        if !self.tape.is_on() {
            return self.view.acquire_all(names, wait_ms).await;
        }
        let question = Question::AcquireAll {
            names: names.clone(),
            wait_ms,
        };
        match self.play(question).await {
            Some(answer) => self.replay_grant(&names, answer),
            None => {
                let granted = self.view.acquire_all(names.clone(), wait_ms).await;
                self.note_grant(&names, granted)
            }
        }
    }

    async fn release(&mut self, handle: Resource<LeaseHandle>) -> Result<std::result::Result<(), Lost>> {
        let _phase = self.phases.within(Phase::Release);
        if !self.tape.is_on() {
            return self.view.release(handle).await;
        }
        let lease = self.grants.lease(&handle);
        if let Some(answer) = self.play(Question::Release { lease }).await {
            self.forget(handle)?;
            return returned(answer);
        }
        self.grants.forget(&handle);
        let released = self.view.release(handle).await?;
        self.tell(|| released.answer());
        Ok(released)
    }
}

impl locks::HostLease for Taped<'_, LocksView<'_>> {
    fn name(&mut self, handle: Resource<LeaseHandle>) -> Result<String> {
        if self.tape.is_on() {
            return Ok(self.grants.lease(&handle));
        }
        self.view.name(handle)
    }

    fn fencing_token(&mut self, handle: Resource<LeaseHandle>) -> Result<u64> {
        if self.tape.is_on() {
            return Ok(self.grants.fencing_token(&handle));
        }
        self.view.fencing_token(handle)
    }

    fn remaining_ms(&mut self, handle: Resource<LeaseHandle>) -> Result<u64> {
        if !self.tape.is_on() {
            return self.view.remaining_ms(handle);
        }
        let lease = self.grants.lease(&handle);
        match self.tape.ask(|| Question::Remaining { lease }) {
            Play::Told { answer, .. } => returned(answer),
            // It cannot wait for its end, and so learns a little more before it is stopped.
            Play::Over => Ok(0),
            Play::Ask => {
                let remaining = self.view.remaining_ms(handle)?;
                self.tell(|| remaining.answer());
                Ok(remaining)
            }
        }
    }

    async fn renew(&mut self, handle: Resource<LeaseHandle>) -> Result<std::result::Result<(), Lost>> {
        if !self.tape.is_on() {
            return self.view.renew(handle).await;
        }
        let lease = self.grants.lease(&handle);
        if let Some(answer) = self.play(Question::Renew { lease }).await {
            return returned(answer);
        }
        let renewed = self.view.renew(handle).await?;
        self.tell(|| renewed.answer());
        Ok(renewed)
    }

    async fn drop(&mut self, handle: Resource<LeaseHandle>) -> Result<()> {
        if !self.tape.is_on() {
            return locks::HostLease::drop(&mut self.view, handle).await;
        }
        let lease = self.grants.lease(&handle);
        if let Some(answer) = self.play(Question::Drop { lease }).await {
            self.forget(handle)?;
            return returned(answer);
        }
        self.grants.forget(&handle);
        locks::HostLease::drop(&mut self.view, handle).await?;
        self.tell(|| Answer::Done);
        Ok(())
    }
}

impl Taped<'_, LocksView<'_>> {
    /// Deletes the handle of a replayed lease.
    fn forget(&mut self, handle: Resource<LeaseHandle>) -> Result<()> {
        self.grants.forget(&handle);
        self.view.table.delete(handle)?;
        Ok(())
    }
}
