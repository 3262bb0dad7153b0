use namelock_account::Budgets;
use tokio::sync::mpsc::unbounded_channel;

use super::debts::{CREDIT, DEBT_MAX};
use super::*;

fn account(id: &str) -> Arc<Account> {
    Arc::new(Account::new(id, &Budgets::default()))
}

/// Runs for this long, whatever else the machine does.
fn spin(time: Duration) {
    let meter = Meter::default();
    meter.poll(|| while meter.poll_ran() < time {});
}

/// Ends a poll as a tick of the epoch does.
async fn tick(meter: &Meter) {
    let mut ended = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut ended, true) {
            return Poll::Ready(());
        }
        meter.stop();
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[tokio::test]
async fn permits_are_given_to_tenants_in_turn() {
    let runs = LongRuns::new(1, 0);
    let accounts = ["greedy", "modest", "other"].map(account);
    let first = runs.place(&accounts[0]).wait(Kind::LongRun).await.unwrap();
    let (sender, mut order) = unbounded_channel();
    for index in [0, 0, 0, 1, 2] {
        let (wait, sender) = (runs.place(&accounts[index]).wait(Kind::LongRun), sender.clone());
        tokio::spawn(async move {
            let permit = wait.await.unwrap();
            sender.send(index).unwrap();
            drop(permit);
        });
    }
    drop(first);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(order.recv().await.unwrap());
    }
    assert_eq!(seen, [0, 1, 2, 0, 0]);
    assert_eq!(runs.inner.lock().long_runs.taken(), 0);
}

#[tokio::test]
async fn a_call_that_ends_while_it_waits_does_not_lose_the_permit() {
    let runs = LongRuns::new(1, 0);
    let (a, b) = (account("a"), account("b"));
    let first = runs.place(&a).wait(Kind::LongRun).await.unwrap();
    let gone = runs.place(&a).wait(Kind::LongRun);
    let next = runs.place(&b).wait(Kind::LongRun);
    drop(gone);
    drop(first);
    let permit = next.await.unwrap();
    // Nor when it ends between being given the permit and taking it.
    let gone = runs.place(&a).wait(Kind::LongRun);
    drop(permit);
    drop(gone);
    assert_eq!(runs.inner.lock().long_runs.taken(), 0);
}

#[tokio::test]
async fn the_tenant_that_owes_least_is_next() {
    let runs = LongRuns::new(1, 0);
    let (greedy, modest) = (account("greedy"), account("modest"));
    let first = runs.place(&greedy).wait(Kind::LongRun).await.unwrap();
    runs.charge(greedy.tenant(), DEBT_MAX * 2);
    runs.charge(modest.tenant(), Duration::from_millis(1));
    let (mut greedy, mut modest) = (
        runs.place(&greedy).wait(Kind::LongRun),
        runs.place(&modest).wait(Kind::LongRun),
    );
    drop(first);
    let permit = modest.try_recv().unwrap();
    assert!(greedy.try_recv().is_err());
    drop(permit);
    greedy.try_recv().unwrap();
}

// Shows P6: a tenant whose calls all run for long waits, the others do not.
#[tokio::test]
async fn a_tenant_that_owes_much_needs_a_permit_for_every_call() {
    let runs = LongRuns::new(1, 0);
    let (long, other) = (account("long"), account("other"));
    let run = |account: &Arc<Account>, time| runs.place(account).gate(&Meter::default(), async move { spin(time) });
    run(&long, Duration::ZERO).await;
    run(&long, FREE).await;
    assert!(!runs.owes_much(long.tenant()), "one long run is forgiven");
    // As much as it can owe: it pays some of it off while this test is kept waiting.
    run(&long, DEBT_MAX).await;
    assert!(runs.owes_much(long.tenant()) && !runs.owes_much(other.tenant()));
    assert!(long.used(Counter::GuestNanos) >= CREDIT.as_nanos() as u64);

    // While the only permit is held, the other tenant runs and this one does not.
    let held = runs.place(&other).wait(Kind::LongRun).await.unwrap();
    run(&other, Duration::ZERO).await;
    let mut waits = Box::pin(run(&long, Duration::ZERO));
    let poll = std::future::poll_fn(|context| Poll::Ready(waits.as_mut().poll(context))).await;
    assert!(poll.is_pending());
    drop(held);
    waits.await;
    assert_eq!(runs.inner.lock().long_runs.taken(), 0);
}

// Shows P6: however many short calls of a tenant are ready at once, only a few are before the next call of another.
#[tokio::test]
async fn a_tenant_that_has_run_much_just_now_needs_a_turn_for_every_call() {
    let runs = LongRuns::new(1, 0);
    let (busy, other) = (account("busy"), account("other"));
    let begun = Arc::new(AtomicU64::new(0));
    let run = |account: &Arc<Account>| {
        let begun = Arc::clone(&begun);
        let call = runs.place(account).gate(&Meter::default(), async move {
            begun.fetch_add(1, Ordering::Relaxed);
        });
        Box::pin(call)
    };
    let poll_once = async |call: &mut Pin<Box<Gated<_>>>| {
        std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await
    };
    let mut many: Vec<_> = (0..8).map(|_| run(&busy)).collect();
    runs.quiet.called(&other);
    let turn = runs.place(&other).wait(Kind::Turn);
    // As much as is remembered, so that it is not forgotten while this test is kept waiting.
    busy.recent().add(Duration::from_secs(1));
    for call in &mut many {
        busy.recent().add(Duration::from_secs(1));
        assert!(!poll_once(call).await);
    }
    assert_eq!(begun.load(Ordering::Relaxed), 0);
    assert!(poll_once(&mut run(&other)).await, "it has run little");
    drop(turn);
    for call in many {
        call.await;
    }
    assert_eq!(begun.load(Ordering::Relaxed), 9);
    assert_eq!(runs.inner.lock().turns.taken(), 0);
}

#[tokio::test]
async fn the_tenant_that_has_run_least_lately_is_next() {
    let runs = LongRuns::new(1, 0);
    let (busy, modest) = (account("busy"), account("modest"));
    runs.quiet.called(&modest);
    let turn = runs.place(&busy).wait(Kind::Turn).await.unwrap();
    let (mut first, mut second) = (runs.place(&busy).wait(Kind::Turn), runs.place(&modest).wait(Kind::Turn));
    busy.recent().add(Duration::from_secs(1));
    drop(turn);
    let turn = second.try_recv().unwrap();
    assert!(first.try_recv().is_err());
    drop(turn);
    first.try_recv().unwrap();
}

// Shows P6: a call of somebody else ends that a tenant has more turns than there are processors to spare, at once.
#[tokio::test]
async fn a_tenant_has_many_turns_until_one_that_calls_little_calls() {
    let runs = LongRuns::new(1, 0);
    let (busy, little) = (account("busy"), account("little"));
    let needs = |account: &Arc<Account>| runs.place(account).needs(Duration::ZERO);
    // Each time as much as is remembered, so that it is not forgotten while this test is kept waiting.
    let needs_a_turn = || {
        busy.recent().add(Duration::from_secs(1));
        assert_eq!(needs(&busy), Some(Kind::Turn));
        runs.place(&busy).wait(Kind::Turn)
    };
    assert_eq!(needs(&busy), None, "it has run little yet");
    let turns: Vec<_> = (0..TURNS_FOR_ONE).map(|_| needs_a_turn().try_recv().unwrap()).collect();
    let (mut waits, mut last) = (needs_a_turn(), needs_a_turn());
    assert!(waits.try_recv().is_err());

    assert_eq!(needs(&little), None);
    let mut turns = turns.into_iter();
    drop(turns.by_ref().take(TURNS_FOR_ONE - 1).collect::<Vec<_>>());
    assert!(waits.try_recv().is_err(), "there is one turn now, and somebody has it");
    drop(turns);
    let turn = waits.try_recv().unwrap();
    assert!(last.try_recv().is_err());

    // Who calls much now was not the one that it is kept for.
    little.recent().add(Duration::from_secs(1));
    assert_eq!(needs(&little), Some(Kind::Turn));
    let mut more = needs_a_turn();
    assert!(more.try_recv().is_err(), "those that wait are before it");
    drop(turn);
    assert!(last.try_recv().is_ok() && more.try_recv().is_ok());
    assert_eq!(runs.inner.lock().turns.taken(), 0);
}

// Shows P6: a tenant whose guests could not be stopped pays for longer than one whose calls are long.
#[tokio::test]
async fn a_penalty_is_owed_for_longer_than_long_runs() {
    let runs = LongRuns::new(1, 0);
    let (long, evader) = (account("long"), account("evader"));
    runs.charge(long.tenant(), DEBT_MAX * 100);
    runs.place(&evader).penalize();
    // More runs make neither owe more, nor less.
    runs.charge(evader.tenant(), DEBT_MAX);
    let debt = |account: &Arc<Account>| runs.inner.lock().debts.of(account.tenant());
    assert!(debt(&long) <= DEBT_MAX && debt(&evader) > DEBT_MAX * 10);
}

#[tokio::test]
async fn a_call_has_no_permit_while_it_waits_for_something_else() {
    let runs = LongRuns::new(1, 0);
    let mut call = Box::pin(runs.place(&account("a")).gate(&Meter::default(), async {
        spin(FREE);
        tokio::task::yield_now().await;
        spin(FREE);
        std::future::pending::<()>().await;
    }));
    for _ in 0..3 {
        let poll = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        assert!(poll.is_pending());
        assert_eq!(runs.inner.lock().long_runs.taken(), 0);
    }
}

// Shows P6: a tenant with more long calls than can end in their time does not lose them all.
#[tokio::test]
async fn of_64_long_calls_on_one_permit_the_oldest_end_one_after_another() {
    const CALLS: usize = 64;
    // A call of 100 ms, in shorter ticks than real ones, because only their number matters.
    const TICKS: u64 = 100;
    let runs = LongRuns::new(1, 0);
    let tenant = account("a");
    // All are debtors from their beginning, as calls of a tenant that goes on like that are.
    runs.charge(tenant.tenant(), DEBT_MAX);
    let keep = runs.place(&tenant).wait(Kind::LongRun).await.unwrap();
    let polls = Arc::new(AtomicU64::new(0));
    let (sender, mut ends) = unbounded_channel();
    for number in 0..CALLS {
        let (polls, sender, meter) = (Arc::clone(&polls), sender.clone(), Meter::default());
        let place = runs.place(&tenant);
        tokio::spawn(async move {
            let call = async {
                for _ in 0..TICKS {
                    spin(Duration::from_micros(20));
                    polls.fetch_add(1, Ordering::Relaxed);
                    tick(&meter).await;
                }
            };
            place.gate(&meter, call).await;
            sender.send((number, polls.load(Ordering::Relaxed))).unwrap();
        });
    }
    // All of them are in the queue before the first one runs.
    tokio::task::yield_now().await;
    drop(keep);
    for ended in 0..CALLS {
        let (number, polls) = ends.recv().await.unwrap();
        assert_eq!(number, ended);
        assert!(
            polls <= (ended as u64 + 1) * TICKS,
            "{ended} calls had ended after {polls} ticks"
        );
    }
}

/// Something that takes a while to drop, and tells when it was.
struct Heavy(tokio::sync::mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Heavy {
    fn drop(&mut self) {
        spin(CREDIT * 2);
        self.0.send(self.1).unwrap();
    }
}

// Shows P6: memory of callers that hung up is given back in turn, on the tenant's account, and before it may take more.
#[tokio::test]
async fn what_is_given_back_later_waits_for_a_permit_and_is_charged() {
    let runs = LongRuns::new(1, 1);
    let (dirty, other) = (account("dirty"), account("other"));
    let held = runs.place(&other).wait(Kind::LongRun).await.unwrap();
    let (sender, mut dropped) = unbounded_channel();
    runs.place(&dirty).give_back_later(Heavy(sender.clone(), "in turn"));
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert!(dropped.try_recv().is_err(), "it waits for a permit");
    assert!(runs.owes_much(dirty.tenant()), "and its tenant for it");
    assert_eq!(dirty.used(Counter::HostNanos), 0);
    // Not more than may wait.
    runs.place(&dirty).give_back_later(Heavy(sender, "at once"));
    assert_eq!(dropped.recv().await, Some("at once"));
    drop(held);
    assert_eq!(dropped.recv().await, Some("in turn"));
    let least = (CREDIT * 2 * 2).as_nanos() as u64;
    while runs.inner.lock().long_runs.taken() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        dirty.used(Counter::HostNanos) >= least / 2,
        "{}",
        dirty.used(Counter::HostNanos)
    );
    assert!(runs.owes_much(dirty.tenant()));
    assert_eq!(
        (other.used(Counter::HostNanos), dirty.used(Counter::GuestNanos)),
        (0, 0)
    );
    assert_eq!(runs.deferred.available_permits(), 1);
}
