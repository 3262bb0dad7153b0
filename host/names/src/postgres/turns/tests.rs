//! Tests of the turns.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

const DEADLINE: Duration = Duration::from_secs(2);

/// Polls once.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Takes a turn that is free.
#[track_caller]
fn take(turns: &Turns, tenant: &str, kind: Kind) -> Turn {
    match poll(pin!(turns.take(tenant, kind))) {
        Poll::Ready(Ok(turn)) => turn,
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => panic!("none is free"),
    }
}

/// Turns of a database that is known to commit.
fn tried(connections: usize, queue: usize) -> Turns {
    let turns = Turns::new(connections, queue, DEADLINE);
    take(&turns, "a", Kind::Write).note_commit();
    turns
}

#[test]
fn tenants_take_turns_and_a_turn_is_not_lost_with_a_caller_that_gives_up() {
    let turns = tried(1, 10);
    let first = take(&turns, "a", Kind::Write);
    let mut waiting = pin!(turns.take("a", Kind::Write));
    let mut second = pin!(turns.take("a", Kind::Write));
    let mut other = pin!(turns.take("b", Kind::Write));
    assert!(poll(waiting.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    assert!(poll(other.as_mut()).is_pending());
    drop(first);
    let Poll::Ready(Ok(turn)) = poll(waiting.as_mut()) else {
        panic!("it came first")
    };
    assert!(poll(second.as_mut()).is_pending());
    {
        // It gives up while it waits, and another one after it was given the turn.
        let mut gone = Box::pin(turns.take("c", Kind::Write));
        assert!(poll(gone.as_mut()).is_pending());
        drop(gone);
        let mut late = Box::pin(turns.take("d", Kind::Write));
        assert!(poll(late.as_mut()).is_pending());
        drop(turn);
        let Poll::Ready(Ok(turn)) = poll(other.as_mut()) else {
            panic!("before the second of a")
        };
        drop(turn);
        let Poll::Ready(Ok(turn)) = poll(second.as_mut()) else {
            panic!("it is a's turn again")
        };
        drop(turn);
        drop(late);
    }
    assert_eq!(turns.0.lock().free, 1);
}

#[test]
fn a_tenant_that_floods_leaves_places_to_wait_in() {
    let turns = tried(1, 4);
    let _first = take(&turns, "a", Kind::Read);
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(turns.take("a", Kind::Read))).collect();
    assert!(waiting.iter_mut().all(|turn| poll(turn.as_mut()).is_pending()));
    assert!(matches!(
        poll(pin!(turns.take("a", Kind::Read))),
        Poll::Ready(Err(NoTurn::Full))
    ));
    assert!(poll(pin!(turns.take("b", Kind::Read))).is_pending());
    // Places of those who have gone are free.
    waiting.pop();
    assert!(poll(pin!(turns.take("a", Kind::Read))).is_pending());
}

#[test]
fn writes_leave_a_quarter_of_the_connections_to_reads() {
    for (connections, writes) in [(1, 1), (2, 1), (3, 2), (4, 3), (16, 12), (17, 13)] {
        let turns = tried(connections, 10);
        let written: Vec<_> = (0..writes).map(|_| take(&turns, "a", Kind::Write)).collect();
        assert!(poll(pin!(turns.take("a", Kind::Write))).is_pending());
        let read: Vec<_> = (writes..connections).map(|_| take(&turns, "a", Kind::Read)).collect();
        assert!(poll(pin!(turns.take("a", Kind::Read))).is_pending());
        drop((written, read));
        assert_eq!(turns.0.lock().free, connections);
    }
}

#[test]
fn reads_and_writes_that_wait_are_served_by_turns() {
    let turns = tried(1, 10);
    let first = take(&turns, "a", Kind::Read);
    let mut writes = [0, 1].map(|_| Box::pin(turns.take("a", Kind::Write)));
    let mut reads = [0, 1].map(|_| Box::pin(turns.take("a", Kind::Read)));
    assert!(writes.iter_mut().all(|write| poll(write.as_mut()).is_pending()));
    assert!(reads.iter_mut().all(|read| poll(read.as_mut()).is_pending()));
    drop(first);
    for (read, write) in reads.iter_mut().zip(&mut writes) {
        let turn = poll(read.as_mut());
        assert!(matches!(turn, Poll::Ready(Ok(_))) && poll(write.as_mut()).is_pending());
        drop(turn);
        let turn = poll(write.as_mut());
        assert!(matches!(turn, Poll::Ready(Ok(_))));
    }
}

// Shows P7: what would wait for nothing is refused at once.
#[test]
fn writes_that_wait_for_the_first_are_refused_once_it_is_overdue() {
    let turns = Turns::new(4, 10, DEADLINE);
    let mut first = take(&turns, "a", Kind::Write);
    first.send();
    let mut second = pin!(turns.take("b", Kind::Write));
    assert!(poll(second.as_mut()).is_pending());
    first.note_overdue();
    for refused in [poll(second.as_mut()), poll(pin!(turns.take("b", Kind::Write)))] {
        assert!(matches!(refused, Poll::Ready(Err(NoTurn::Unanswered(_)))));
    }
    take(&turns, "b", Kind::Read);
    first.note_commit();
    take(&turns, "b", Kind::Write);
}
