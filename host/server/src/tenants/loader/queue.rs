//! Which tenant's component is loaded next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use namelock_account::{Account, Counter};
use namelock_types::milliseconds;
use serde::Serialize;

use super::super::id::TenantId;
use super::super::state::Refused;

/// A tenant whose component is to be loaded.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) id: TenantId,
    pub(super) account: Arc<Account>,
    /// Whether a first try to compile it took too long.
    pub(super) takes_long: bool,
    /// Whether it was compiled before, and is only to be tried.
    to_try: bool,
    /// Since when it has been in the queue.
    since: Instant,
    /// Why the component of its directory is refused: the last good version is loaded in its place.
    pub(super) instead_of: Option<Refused>,
}

impl Job {
    pub(super) fn new(id: TenantId, account: Arc<Account>) -> Self {
        Self {
            id,
            account,
            takes_long: false,
            to_try: false,
            since: Instant::now(),
            instead_of: None,
        }
    }
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
    /// It is pulled from a registry.
    Pulling,
    /// It is read, and looked for in the cache.
    Reading,
    /// It waits for a compiler.
    WaitsForCompiler,
    /// It waits until it is read.
    WaitsForReading,
    /// It waits until it is pulled, or pulled again after that has failed.
    WaitsForRegistry,
}

/// A job that somebody works on.
struct AtWork {
    job: Job,
    stage: Stage,
}

/// What becomes of a job that was worked on.
#[derive(Debug, Clone)]
pub(super) enum Then {
    Done,
    /// It is in the cache, and is to be tried before it is served.
    Try,
    Compile,
    CompileForLong,
    /// What the directory has is refused for this, and nothing serves: the last good version does, if there is one.
    FallBack(Refused),
}

/// The queue. A tenant is in one of the first two, or at work.
#[derive(Default)]
pub(super) struct Queue {
    /// To be read and looked for in the cache.
    to_read: VecDeque<Job>,
    /// To be compiled.
    to_compile: VecDeque<Job>,
    at_work: HashMap<TenantId, AtWork>,
    /// Whether one is being read.
    pub(super) reading: bool,
    /// Those at work that were read again meanwhile.
    again: Vec<Job>,
}

impl Queue {
    pub(super) fn push(&mut self, job: Job) {
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

    pub(super) fn next_to_read(&mut self) -> Option<Job> {
        if self.reading {
            return None;
        }
        let job = self.to_read.pop_front()?;
        self.reading = true;
        self.begin(&job, Stage::Reading);
        Some(job)
    }

    // Keeps P6: whoever has used the compiler most waits for all others, and what need not be compiled for nobody who needs it.
    pub(super) fn next_to_compile(&mut self) -> Option<Job> {
        if self.reading || !self.to_read.is_empty() {
            return None;
        }
        let place = |(_, job): &(usize, &Job)| (job.takes_long, !job.to_try, job.account.used(Counter::CompileNanos));
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
    pub(super) fn list(&self, limit: usize) -> Vec<Loading> {
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
    pub(super) fn end(&mut self, mut job: Job, then: Then) {
        self.at_work.remove(&job.id);
        let again = self.again.iter().position(|other| other.id == job.id);
        match again {
            Some(index) => {
                let job = self.again.swap_remove(index);
                self.push(job);
            }
            None => match then {
                Then::Done => {}
                Then::FallBack(refused) => {
                    job.instead_of = Some(refused);
                    self.to_read.push_back(job);
                }
                Then::Try | Then::Compile | Then::CompileForLong => {
                    job.takes_long = matches!(then, Then::CompileForLong);
                    job.to_try = matches!(then, Then::Try);
                    self.to_compile.push_back(job);
                }
            },
        }
    }

    /// Whether a tenant's component is being loaded, or is to be.
    pub(super) fn has(&self, id: &str) -> bool {
        let waits = |jobs: &VecDeque<Job>| jobs.iter().any(|job| job.id.as_str() == id);
        self.at_work.contains_key(id) || waits(&self.to_read) || waits(&self.to_compile)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.to_read.is_empty() && self.to_compile.is_empty() && self.at_work.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use namelock_account::Budgets;

    use super::super::super::error::TenantError;
    use super::*;

    fn job(id: &str, compiled: u64) -> Job {
        let account = Account::new(id, &Budgets::default());
        account.charge_time(Counter::CompileNanos, Duration::from_secs(compiled));
        Job::new(id.parse().unwrap(), Arc::new(account))
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
    fn what_is_only_to_be_tried_waits_for_nobody_who_compiles() {
        let mut queue = Queue::default();
        queue.push(job("bomb", 0));
        queue.push(job("compiled-before", 5));
        for then in [Then::Compile, Then::Try] {
            let job = queue.next_to_read().unwrap();
            queue.reading = false;
            queue.end(job, then);
        }
        assert_eq!(compiled(&mut queue), ["compiled-before", "bomb"]);
    }

    #[test]
    fn a_tenant_that_falls_back_is_read_again_unless_its_directory_was() {
        let mut queue = Queue::default();
        let refused = || Refused::because(&TenantError::Rehearsal(String::new()));
        queue.push(job("a", 0));
        let a = queue.next_to_read().unwrap();
        queue.reading = false;
        queue.end(a, Then::FallBack(refused()));
        assert!(queue.has("a"));
        let a = queue.next_to_read().unwrap();
        assert!(a.instead_of.is_some());
        queue.push(job("a", 0));
        queue.reading = false;
        queue.end(a, Then::FallBack(refused()));
        assert!(queue.next_to_read().unwrap().instead_of.is_none());
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
