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
//! Components are read into memory of their own length, and what waits for the compiler holds none: otherwise a directory full
//! of long components would take processors and memory from the tenants that are being served.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use namelock_account::{Account, Counter, Limit};
use namelock_sandbox::compiler::Effort;
use namelock_sandbox::{LoadError, Loaded, Sandbox};
use namelock_types::milliseconds;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::id::TenantId;
use super::state::Refused;
use super::table::{Table, ToLoad};

/// A tenant whose component is to be loaded.
#[derive(Clone)]
struct Job {
    id: TenantId,
    account: Arc<Account>,
    /// Whether a first try to compile it took too long.
    takes_long: bool,
    /// Since when it has been in the queue.
    since: Instant,
}

/// A tenant whose component is being loaded, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loading {
    /// The tenant.
    pub tenant: String,
    /// What is done for it.
    pub stage: Stage,
    /// For how long it has been in the queue, in milliseconds.
    pub age_ms: u64,
    /// Whether a first try took too long, so that it comes after all that were not tried.
    pub takes_long: bool,
}

/// What is done for a tenant whose component is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is compiled.
    Compiling,
    /// It is read, and looked for in the cache.
    Reading,
    /// It waits for a compiler.
    WaitsForCompiler,
    /// It waits until it is read.
    WaitsForReading,
}

/// A job that somebody works on.
struct AtWork {
    job: Job,
    stage: Stage,
}

/// What becomes of a job that was worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Done,
    Compile,
    CompileForLong,
}

/// The queue. A tenant is in one of the first two, or at work.
#[derive(Default)]
struct Queue {
    /// To be read and looked for in the cache.
    to_read: VecDeque<Job>,
    /// To be compiled.
    to_compile: VecDeque<Job>,
    at_work: HashMap<TenantId, AtWork>,
    /// Whether one is being read.
    reading: bool,
    /// Those at work that were read again meanwhile.
    again: Vec<Job>,
}

impl Queue {
    fn push(&mut self, job: Job) {
        if self.at_work.contains_key(&job.id) {
            self.again.retain(|other| other.id != job.id);
            self.again.push(job);
            return;
        }
        // The older one is replaced; in the queue for the compiler its place does not depend on when it came.
        self.to_compile.retain(|other| other.id != job.id);
        match self.to_read.iter_mut().find(|other| other.id == job.id) {
            Some(older) => *older = job,
            None => self.to_read.push_back(job),
        }
    }

    fn next_to_read(&mut self) -> Option<Job> {
        if self.reading {
            return None;
        }
        let job = self.to_read.pop_front()?;
        self.reading = true;
        self.begin(&job, Stage::Reading);
        Some(job)
    }

    // Keeps P6: whoever has used the compiler most waits for all others.
    fn next_to_compile(&mut self) -> Option<Job> {
        if self.reading || !self.to_read.is_empty() {
            return None;
        }
        let place = |(_, job): &(usize, &Job)| (job.takes_long, job.account.used(Counter::CompileNanos));
        let (index, _) = self.to_compile.iter().enumerate().min_by_key(place)?;
        let job = self.to_compile.remove(index)?;
        self.begin(&job, Stage::Compiling);
        Some(job)
    }

    fn begin(&mut self, job: &Job, stage: Stage) {
        let job = job.clone();
        self.at_work.insert(job.id.clone(), AtWork { job, stage });
    }

    /// At most `limit` of its jobs: first those at work, then those that wait, in the order in which they came.
    fn list(&self, limit: usize) -> Vec<Loading> {
        let mut at_work: Vec<_> = self.at_work.values().map(|at| (&at.job, at.stage)).collect();
        at_work.sort_by_key(|(job, _)| job.since);
        let to_compile = self.to_compile.iter().map(|job| (job, Stage::WaitsForCompiler));
        let to_read = self.to_read.iter().map(|job| (job, Stage::WaitsForReading));
        let all = at_work.into_iter().chain(to_compile).chain(to_read);
        let loading = |(job, stage): (&Job, Stage)| Loading {
            tenant: job.id.to_string(),
            stage,
            age_ms: milliseconds(job.since.elapsed()),
            takes_long: job.takes_long,
        };
        all.take(limit).map(loading).collect()
    }

    /// Ends the work on a tenant, which goes on to the compiler or is done.
    fn end(&mut self, mut job: Job, then: Then) {
        self.at_work.remove(&job.id);
        let again = self.again.iter().position(|other| other.id == job.id);
        match again {
            Some(index) => {
                let job = self.again.swap_remove(index);
                self.push(job);
            }
            None if then == Then::Done => {}
            None => {
                job.takes_long = then == Then::CompileForLong;
                self.to_compile.push_back(job);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.to_read.is_empty() && self.to_compile.is_empty() && self.at_work.is_empty()
    }
}

/// Loads components.
pub(super) struct Loader {
    sandbox: Sandbox,
    table: Arc<Table>,
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Loader {
    pub(super) fn new(sandbox: Sandbox, table: Arc<Table>) -> Self {
        Self {
            sandbox,
            table,
            queue: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// At most `limit` of the tenants whose components are being loaded.
    pub(super) fn list(&self, limit: usize) -> Vec<Loading> {
        self.queue.lock().list(limit)
    }

    /// Queues these tenants, without waiting for anything.
    pub(super) fn push(&self, tenants: Vec<(TenantId, Arc<Account>)>) {
        let mut queue = self.queue.lock();
        for (id, account) in tenants {
            queue.push(Job {
                id,
                account,
                takes_long: false,
                since: Instant::now(),
            });
        }
        drop(queue);
        self.changed.notify_waiters();
    }

    /// Waits until nothing is queued and nothing is being loaded.
    pub(super) async fn settled(&self) {
        self.wait_for(|queue| queue.is_empty().then_some(())).await;
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
        let ((), _) = tokio::join!(read, compilers);
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

    /// Reads a component and serves it, unless it must be compiled.
    async fn read(&self, job: &Job) -> Then {
        let Some(to_load) = self.table.to_load(&job.id, &job.account) else {
            return Then::Done;
        };
        let began = Instant::now();
        let found = self.look_up(&job.account, to_load).await;
        job.account.charge_time(Counter::HostNanos, began.elapsed());
        let loaded = match found {
            Ok(Some(loaded)) => Ok(loaded),
            Ok(None) => return Then::Compile,
            Err(refused) => Err(refused),
        };
        self.table.finish(&job.id, &job.account, loaded);
        Then::Done
    }

    /// Finds what need not be compiled: what is served already, what was refused already, and what is in the cache.
    async fn look_up(&self, account: &Account, to_load: ToLoad) -> Result<Option<Loaded>, Refused> {
        let ToLoad { plan, serving, refused } = to_load;
        let wasm = plan.read_component().await.map_err(|error| Refused::because(&error))?;
        account.note(Limit::Component, wasm.bytes() as u64, plan.component_max as u64);
        let digest = wasm.digest();
        drop(wasm);
        // Keeps P6: a component that the compiler has refused costs its time once.
        if let Some(refused) = refused.filter(|refused| refused.digest == Some(digest)) {
            return Err(refused);
        }
        let within = |serving: &Loaded| serving.digest == digest && serving.artifact_bytes <= plan.artifact_max as u64;
        let loaded = match serving.filter(within) {
            Some(serving) => Some(serving),
            None => {
                let found = self.sandbox.load_compiled(digest, plan.artifact_max).await;
                found.map_err(|error| Refused::because_of_load(&plan, error, digest))?
            }
        };
        if let Some(loaded) = &loaded {
            account.note(Limit::Artifact, loaded.artifact_bytes, plan.artifact_max as u64);
        }
        Ok(loaded)
    }

    /// Compiles a component, which is read again: nobody keeps it while it waits.
    async fn compile(&self, job: &Job) -> Then {
        let Some(ToLoad { plan, .. }) = self.table.to_load(&job.id, &job.account) else {
            return Then::Done;
        };
        let effort = if job.takes_long { Effort::Full } else { Effort::Short };
        let compile = async {
            let permit = self.sandbox.compiler().await;
            let wasm = plan.read_component().await.map_err(|error| Refused::because(&error))?;
            let compiled = self
                .sandbox
                .compile(permit, &wasm, plan.artifact_max, &job.account, effort)
                .await;
            let loaded = match compiled {
                Err(LoadError::TakesLong) => return Ok(None),
                compiled => compiled.map_err(|error| Refused::because_of_load(&plan, error, wasm.digest()))?,
            };
            job.account
                .note(Limit::Artifact, loaded.artifact_bytes, plan.artifact_max as u64);
            Ok(Some(loaded))
        };
        let loaded = match compile.await {
            Ok(None) => return Then::CompileForLong,
            Ok(Some(loaded)) => Ok(loaded),
            Err(refused) => Err(refused),
        };
        self.table.finish(&job.id, &job.account, loaded);
        Then::Done
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use namelock_account::Budgets;

    use super::*;

    fn job(id: &str, compiled: u64) -> Job {
        let account = Account::new(id, &Budgets::default());
        account.charge_time(Counter::CompileNanos, Duration::from_secs(compiled));
        Job {
            id: id.parse().unwrap(),
            account: Arc::new(account),
            takes_long: false,
            since: Instant::now(),
        }
    }

    /// Reads everything that is queued, and sends it on to the compiler.
    fn read_all(queue: &mut Queue) {
        while let Some(job) = queue.next_to_read() {
            assert!(queue.next_to_compile().is_none(), "nothing is compiled meanwhile");
            queue.reading = false;
            queue.end(job, Then::Compile);
        }
    }

    fn compiled(queue: &mut Queue) -> Vec<String> {
        let mut order = Vec::new();
        while let Some(job) = queue.next_to_compile() {
            order.push(job.id.to_string());
            queue.end(job, Then::Done);
        }
        order
    }

    // Shows P6: a tenant whose components take long waits behind the others.
    #[test]
    fn who_has_used_the_compiler_least_comes_first() {
        let mut queue = Queue::default();
        for (id, seconds) in [("bomb", 60), ("a", 0), ("b", 5), ("c", 0)] {
            queue.push(job(id, seconds));
        }
        read_all(&mut queue);
        assert_eq!(compiled(&mut queue), ["a", "c", "b", "bomb"]);
        assert!(queue.is_empty());
    }

    // Shows P6: at the first start nothing is known of anybody, and a bomb that comes first keeps nobody out for long.
    #[test]
    fn what_takes_long_comes_after_all_that_was_not_tried() {
        let mut queue = Queue::default();
        for id in ["a-bomb", "b", "c"] {
            queue.push(job(id, 0));
        }
        read_all(&mut queue);
        let bomb = queue.next_to_compile().unwrap();
        assert_eq!((bomb.id.to_string().as_str(), bomb.takes_long), ("a-bomb", false));
        queue.end(bomb, Then::CompileForLong);
        // Others that have used the compiler for longer come first too.
        queue.push(job("d", 60));
        read_all(&mut queue);
        assert_eq!(compiled(&mut queue), ["b", "c", "d", "a-bomb"]);
    }

    #[test]
    fn an_operator_sees_who_is_at_work_before_who_waits() {
        let mut queue = Queue::default();
        for id in ["a", "b", "c"] {
            queue.push(job(id, 0));
        }
        read_all(&mut queue);
        queue.next_to_compile().unwrap();
        queue.push(job("d", 0));
        let stages = |limit| -> Vec<_> {
            let list = queue.list(limit).into_iter();
            list.map(|loading| (loading.tenant, loading.stage)).collect()
        };
        let expect = [
            ("a", Stage::Compiling),
            ("b", Stage::WaitsForCompiler),
            ("c", Stage::WaitsForCompiler),
            ("d", Stage::WaitsForReading),
        ];
        assert_eq!(stages(9), expect.map(|(id, stage)| (id.to_owned(), stage)));
        assert_eq!(stages(2).len(), 2);
    }

    #[test]
    fn a_newer_plan_replaces_one_that_waits() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.push(job("a", 0));
        }
        assert_eq!(queue.to_read.len(), 1);
        read_all(&mut queue);
        queue.push(job("a", 0));
        assert_eq!((queue.to_read.len(), queue.to_compile.len()), (1, 0));
    }

    #[test]
    fn a_tenant_that_is_read_again_at_work_is_loaded_once_more() {
        let mut queue = Queue::default();
        queue.push(job("a", 0));
        read_all(&mut queue);
        let first = queue.next_to_compile().unwrap();
        queue.push(job("a", 0));
        queue.push(job("a", 0));
        assert!(queue.next_to_read().is_none(), "not twice at once");
        queue.end(first, Then::Done);
        assert!(queue.next_to_read().is_some());
        assert!(queue.to_read.is_empty() && queue.again.is_empty());
    }
}
