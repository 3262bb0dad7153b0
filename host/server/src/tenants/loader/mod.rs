//! Loads components behind the tenants that are served, in one queue that is fair between tenants.
//!
//! - A tenant is in the queue at most once. Read again while it waits, it is loaded as it is then; read again while it is being
//!   loaded, it is loaded once more.
//! - Every component is first read and looked for in the cache, one after another, before any is compiled. So what was compiled
//!   before is served at once, and nothing is removed from the cache that is about to be used.
//! - Every component is first tried for a few seconds; one that takes longer comes after all that were not tried yet. So who
//!   brings bombs does not keep others out for as long as a compiler may run, also where nothing is known of anybody, such as
//!   at the first start or after an upgrade.
//! - Of equals the tenant comes first that has used the compiler least. Who brings bombs waits behind all others, whose
//!   components take no time.
//!
//! What a tenant was not served before is tried before it is served (`rehearsal`); a tenant that nothing serves yet is served its
//! last good version meanwhile, and instead, if what its directory has is refused (`versions`). So a host that starts serves at
//! once what it served before.
//!
//! What is in a registry is pulled beside all this (`pulls`): its tenant leaves the queue, and comes back when it is here.
//!
//! Components are read into memory of their own length, and what waits for the compiler holds none: otherwise a directory full
//! of long components would take processors and memory from the tenants that are being served.

mod back;
mod components;
mod pulls;
mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use namelock_account::{Account, Counter, Limit};
use namelock_names::catalog::Catalog;
use namelock_oci::{OciConfig, Outcome, Reference};
use namelock_sandbox::compiler::Effort;
use namelock_sandbox::{LoadError, Loaded, Sandbox, Wasm};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::components::{Components, Wanted};
use self::pulls::{Pulls, Waiting};
use self::queue::{Job, Queue, Then};
pub use self::queue::{Loading, Stage};
use super::error::TenantError;
use super::id::TenantId;
use super::plan::Plan;
use super::rehearsal::Rehearsal;
use super::state::Refused;
use super::table::{Finished, Put, Table, ToLoad};
use super::versions::{Standing, Versions};

/// What is found of a component before it is compiled.
enum Found {
    /// It can be served.
    Put(Box<Put>),
    /// It is in the cache, and is to be tried.
    ToTry,
    /// It is to be pulled.
    ToPull,
    /// It is to be compiled.
    Nothing,
}

/// What becomes of a component that is compiled.
enum Compiled {
    Put(Wasm, Box<Put>),
    /// It takes too long for a first try.
    TakesLong,
    /// What was read before is not here any more.
    ToPull,
}

/// Loads components.
pub(super) struct Loader {
    sandbox: Sandbox,
    table: Arc<Table>,
    components: Components,
    pulls: Pulls,
    rehearsal: Rehearsal,
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Loader {
    pub(super) fn new(
        sandbox: Sandbox,
        table: Arc<Table>,
        versions: Arc<Versions>,
        rehearsal: Rehearsal,
        (catalog, oci): (Option<Catalog>, &OciConfig),
    ) -> Self {
        let pulls = Pulls::new(oci);
        Self {
            sandbox,
            table,
            components: Components {
                versions,
                catalog,
                pulled: pulls.cache.clone(),
            },
            pulls,
            rehearsal,
            queue: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// At most `limit` of the tenants whose components are being loaded.
    pub(super) fn list(&self, limit: usize) -> Vec<Loading> {
        let queue = self.queue.lock();
        let mut list = queue.list(limit);
        let pulled = self
            .pulls
            .list()
            .into_iter()
            .filter(|pulled| !queue.has(&pulled.tenant));
        list.extend(pulled.take(limit - list.len()));
        list
    }

    /// How many pulls have ended, by how they did.
    pub(super) fn pulls(&self) -> [(Outcome, u64); Outcome::ALL.len()] {
        self.pulls.counts()
    }

    /// Queues these tenants, without waiting for anything.
    pub(super) fn push(&self, tenants: Vec<(TenantId, Arc<Account>)>) {
        let mut queue = self.queue.lock();
        for (id, account) in tenants {
            queue.push(Job::new(id, account));
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    /// Waits until nothing is queued and nothing is being loaded. What is still to be pulled is not waited for.
    pub(super) async fn settled(&self) {
        self.wait_for(|queue| queue.is_empty().then_some(())).await;
    }

    /// Waits until nothing of this tenant is queued or being loaded.
    pub(super) async fn done(&self, id: &str) {
        self.wait_for(|queue| (!queue.has(id)).then_some(())).await;
    }

    /// Loads whatever is queued, for ever.
    pub(super) async fn work(&self) {
        let read = async {
            loop {
                let job = self.wait_for(Queue::next_to_read).await;
                let then = self.read(&job).await;
                self.end(job, |queue, job| {
                    queue.reading = false;
                    queue.end(job, then);
                });
            }
        };
        let compile = async || {
            loop {
                let job = self.wait_for(Queue::next_to_compile).await;
                let then = self.compile(&job).await;
                self.end(job, |queue, job| queue.end(job, then));
            }
        };
        let compilers = join_all((0..self.sandbox.compilers()).map(|_| compile()));
        let pulls = join_all((0..self.pulls.at_once()).map(|_| self.pull()));
        let ((), _, _) = tokio::join!(read, compilers, pulls);
    }

    /// Pulls whatever tenants wait for, for ever.
    async fn pull(&self) {
        let wants = |(id, account): &Waiting, reference: &Reference| {
            let to_load = self.table.to_load(id, account);
            to_load.is_some_and(|to_load| to_load.plan.reference.as_ref() == Some(reference))
        };
        loop {
            let next = self.pulls.next(wants).await;
            match self.pulls.pull(next, self.table.pulled()).await {
                Ok(tenants) => self.push(tenants),
                Err((refused, tenants)) => tenants.into_iter().for_each(|tenant| self.refuse(tenant, &refused)),
            }
        }
    }

    /// Says why a tenant's component is not pulled; then its last good version comes in its place if nothing serves.
    fn refuse(&self, (id, account): Waiting, refused: &Refused) {
        let finished = self.table.finish(&id, &account, Err(refused.clone()));
        let mut queue = self.queue.lock();
        // One that is in the queue finds out by itself.
        if finished == Finished::NothingServes && !queue.has(id.as_str()) {
            let mut job = Job::new(id, account);
            job.instead_of = Some(refused.clone());
            queue.push(job);
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    async fn wait_for<T>(&self, mut found: impl FnMut(&mut Queue) -> Option<T>) -> T {
        loop {
            // Before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            if let Some(found) = found(&mut self.queue.lock()) {
                return found;
            }
            changed.await;
        }
    }

    fn end(&self, job: Job, end: impl FnOnce(&mut Queue, Job)) {
        end(&mut self.queue.lock(), job);
        self.changed.notify_waiters();
    }

    /// Reads a component and serves it, unless it must be compiled or tried.
    async fn read(&self, job: &Job) -> Then {
        let Some(to_load) = self.table.to_load(&job.id, &job.account) else {
            return Then::Done;
        };
        let began = Instant::now();
        let nothing_serves = to_load.serving.is_none();
        let found = self.look_up(job, to_load).await;
        if nothing_serves
            && matches!(found, Ok(Found::ToTry | Found::ToPull | Found::Nothing))
            && job.instead_of.is_none()
        {
            self.serve_last_version(job).await;
        }
        job.account.charge_time(Counter::HostNanos, began.elapsed());
        match found {
            Ok(Found::Put(put)) => self.finish(job, Ok(*put)).await,
            Ok(Found::ToTry) => Then::Try,
            Ok(Found::ToPull) => self.want(job).await,
            Ok(Found::Nothing) => Then::Compile,
            Err(refused) => self.finish(job, Err(refused)).await,
        }
    }

    /// Has a component pulled: the tenant comes back to the queue when it is here.
    async fn want(&self, job: &Job) -> Then {
        let to_load = self.table.to_load(&job.id, &job.account);
        let plan = to_load.map(|to_load| to_load.plan);
        let Some((plan, reference)) = plan.as_ref().and_then(|plan| Some((plan, plan.reference.as_ref()?))) else {
            return Then::Done;
        };
        let tenant = (job.id.clone(), Arc::clone(&job.account));
        match self.pulls.want(reference, plan.component_max as u64, tenant) {
            Some(refused) => self.finish(job, Err(refused)).await,
            None => Then::Done,
        }
    }

    /// Compiles a component and tries it as if it were to be served, without serving it.
    pub(super) async fn try_out(&self, plan: &Plan, wasm: &Wasm) -> Result<(), TenantError> {
        plan.check_length(wasm)?;
        plan.check_digest(wasm.digest())?;
        let permit = self.sandbox.compiler().await;
        let account = &plan.tenant.account;
        let compiled = self
            .sandbox
            .compile(permit, wasm, plan.artifact_max, account, Effort::Full)
            .await;
        let loaded = compiled.map_err(|source| TenantError::Load {
            path: plan.component.clone(),
            source,
        })?;
        self.rehearsal.run(plan, &loaded.handler).await
    }

    /// Finds what need not be compiled: what is served already, what was refused already, and what is in the cache.
    async fn look_up(&self, job: &Job, to_load: ToLoad) -> Result<Found, Refused> {
        let ToLoad { plan, serving, refused } = to_load;
        let Some(Wanted { wasm, instead_of }) = self.components.wanted(job, &plan).await? else {
            return Ok(Found::ToPull);
        };
        let digest = wasm.digest();
        // Keeps P6: a component that the compiler has refused costs its time once.
        if let Some(refused) = refused.filter(|refused| refused.digest == Some(digest)) {
            return Err(refused);
        }
        let within = |serving: &Loaded| serving.digest == digest && serving.artifact_bytes <= plan.artifact_max as u64;
        let put = |loaded| Put {
            loaded,
            instead_of: instead_of.clone(),
            is_new: false,
            tried_for: Duration::ZERO,
        };
        if let Some(serving) = serving.filter(within) {
            return Ok(Found::Put(put(serving).into()));
        }
        let found = self.sandbox.load_compiled(digest, plan.artifact_max).await;
        let Some(loaded) = found.map_err(|error| Refused::because_of_load(&plan, error, digest))? else {
            return Ok(Found::Nothing);
        };
        if !self.components.was_good(&job.id, digest).await {
            return Ok(Found::ToTry);
        }
        if instead_of.is_none() {
            self.components.keep(&job.id, wasm, Standing::Good).await;
        }
        Ok(Found::Put(put(loaded).into()))
    }

    /// Compiles a component, which is read again: nobody keeps it while it waits.
    async fn compile(&self, job: &Job) -> Then {
        let Some(ToLoad { plan, .. }) = self.table.to_load(&job.id, &job.account) else {
            return Then::Done;
        };
        let effort = if job.takes_long { Effort::Full } else { Effort::Short };
        let compile = async {
            let permit = self.sandbox.compiler().await;
            let Some(Wanted { wasm, instead_of }) = self.components.wanted(job, &plan).await? else {
                return Ok(Compiled::ToPull);
            };
            let digest = wasm.digest();
            let compiled = self
                .sandbox
                .compile(permit, &wasm, plan.artifact_max, &job.account, effort)
                .await;
            let loaded = match compiled {
                Err(LoadError::TakesLong) => return Ok(Compiled::TakesLong),
                compiled => compiled.map_err(|error| Refused::because_of_load(&plan, error, digest))?,
            };
            let is_new = instead_of.is_none() && !self.components.was_good(&job.id, digest).await;
            if is_new {
                let began = Instant::now();
                let tried = self.rehearsal.run(&plan, &loaded.handler).await;
                // Keeps P6: whose components are tried for long waits behind the others too.
                job.account.charge_time(Counter::CompileNanos, began.elapsed());
                tried.map_err(|error| Refused::because(&error))?;
            }
            let put = Put {
                loaded,
                instead_of,
                is_new,
                tried_for: self.tried_for(&job.id, digest).await,
            };
            Ok(Compiled::Put(wasm, Box::new(put)))
        };
        let (wasm, put) = match compile.await {
            Ok(Compiled::TakesLong) => return Then::CompileForLong,
            Ok(Compiled::ToPull) => return self.want(job).await,
            Ok(Compiled::Put(wasm, put)) => (wasm, *put),
            Err(refused) => return self.finish(job, Err(refused)).await,
        };
        let artifact_max = plan.artifact_max as u64;
        job.account
            .note(Limit::Artifact, put.loaded.artifact_bytes, artifact_max);
        let from_directory = put.instead_of.is_none();
        let finished = self.table.finish(&job.id, &job.account, Ok(put));
        let standing = match finished {
            Finished::Serves => Standing::Good,
            Finished::Tried => Standing::Tried,
            Finished::Refused | Finished::NothingServes | Finished::Gone => return Then::Done,
        };
        if from_directory {
            self.components.keep(&job.id, wasm, standing).await;
        }
        Then::Done
    }

    /// Puts a component in place, or says why not; then the last good version comes in its place if nothing serves, or one
    /// that an operator has left does.
    async fn finish(&self, job: &Job, put: Result<Put, Refused>) -> Then {
        if let Ok(put) = &put
            && let Some(ToLoad { plan, .. }) = self.table.to_load(&job.id, &job.account)
        {
            let artifact = (put.loaded.artifact_bytes, plan.artifact_max as u64);
            job.account.note(Limit::Artifact, artifact.0, artifact.1);
        }
        let refused = put.as_ref().err().cloned();
        let finished = self.table.finish(&job.id, &job.account, put);
        let Some(refused) = refused.filter(|_| job.instead_of.is_none()) else {
            return Then::Done;
        };
        match finished {
            Finished::NothingServes => Then::FallBack(refused),
            Finished::Refused if self.serves_what_was_left(job).await => Then::FallBack(refused),
            _ => Then::Done,
        }
    }
}
