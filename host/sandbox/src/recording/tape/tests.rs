use super::super::exchange::{Change, Write};
use super::super::tests::recording;
use super::super::{End, Limits, Request};
use super::*;

fn find(name: &str) -> Question {
    Question::Find { name: name.to_owned() }
}

fn acquire() -> Question {
    Question::Acquire {
        name: "blue".to_owned(),
        wait_ms: 0,
    }
}

fn about(request: Request) -> About<'static> {
    About {
        component: "00".to_owned(),
        tenant: "t",
        request_id: "r",
        request,
        keyed: true,
        settings: recording().settings,
        limits: recording().limits,
    }
}

/// Records the call that `recording` has.
fn record(bytes_max: usize) -> Result<Option<Recording>, TooLarge> {
    let tape = Tape::recording(bytes_max).unwrap();
    tape.begin(|| about(recording().request));
    for reading in [1_900_000_000_000, 1_899_999_999_998] {
        assert_eq!(tape.reading(Clock::Wall, || reading), reading);
    }
    tape.reading(Clock::Monotonic, || 3);
    assert!(matches!(tape.ask(|| find("blue")), Play::Ask));
    tape.told(|| (Answer::Registration(None), None, None));
    assert!(matches!(tape.ask(acquire), Play::Ask));
    let noted = recording().exchanges[1].noted.clone();
    tape.told(|| (Answer::Busy(7), noted, Some(1)));
    assert!(tape.writes());
    tape.line("abc");
    tape.outcome(Some("busy".to_owned()), None);
    tape.finish("name_busy")
}

fn replaying(change: impl FnOnce(&mut Recording)) -> Tape {
    let mut recording = recording();
    change(&mut recording);
    Tape::replaying(Arc::new(recording), true).unwrap()
}

fn answer(play: Play) -> Answer {
    match play {
        Play::Told { answer, .. } => answer,
        other => panic!("{other:?}"),
    }
}

/// Whether the replay is over, and why.
fn over(tape: &Tape) -> Option<Over> {
    use futures_util::FutureExt as _;
    tape.over().now_or_never()
}

#[test]
fn a_call_is_recorded_as_it_was() {
    let mut recorded = record(1 << 20).unwrap().unwrap();
    assert_eq!(recorded.seed.len(), 64);
    assert_ne!(
        recorded.seed,
        record(1 << 20).unwrap().unwrap().seed,
        "another call draws other numbers"
    );
    recorded.seed = recording().seed;
    assert_eq!(recorded, recording());
}

// Shows P6: a call that is recorded takes no more memory than it may.
#[test]
fn what_is_too_much_is_dropped_and_said() {
    assert_eq!(record(300).unwrap_err(), TooLarge { bytes_max: 300 });
    let tape = Tape::recording(1000).unwrap();
    tape.begin(|| about(recording().request));
    for _ in 0..1_000_000 {
        tape.reading(Clock::Wall, || 0);
    }
    assert!(tape.finish("x").is_err());
}

#[test]
fn a_tape_that_is_off_does_nothing() {
    let tape = Tape::default();
    assert!(matches!(tape.ask(|| unreachable!()), Play::Ask));
    tape.told(|| unreachable!());
    assert!(tape.reading(Clock::Wall, || 7) == 7 && tape.writes());
    assert!(tape.finish("x").unwrap().is_none() && tape.replayed().is_none() && over(&tape).is_none());
}

#[test]
fn a_replay_is_told_what_was_recorded_without_asking() {
    let tape = replaying(|_| ());
    let read = |clock| tape.reading(clock, || unreachable!());
    assert_eq!((read(Clock::Wall), read(Clock::Monotonic)), (1_900_000_000_000, 3));
    assert_eq!(read(Clock::Wall), 1_899_999_999_998);
    assert_eq!(answer(tape.ask(|| find("blue"))), Answer::Registration(None));
    let Play::Told { noted, held_ms, .. } = tape.ask(acquire) else {
        panic!("it was told")
    };
    assert_eq!((noted, held_ms), (recording().exchanges[1].noted.clone(), Some(1)));
    tape.line("abc");
    tape.outcome(Some("busy".to_owned()), None);
    assert_eq!(over(&tape), None);
    let replayed = tape.replayed().unwrap();
    assert_eq!(
        (replayed.difference, replayed.log, replayed.text.as_deref()),
        (None, vec!["abc".to_owned()], Some("busy"))
    );
}

#[test]
fn the_first_difference_ends_a_replay() {
    let tape = replaying(|_| ());
    assert!(matches!(tape.ask(acquire), Play::Over));
    let text =
        "the component asked `acquire \"blue\"` where `find \"blue\"` was recorded: the component is not deterministic";
    assert_eq!(over(&tape), Some(Over::Differs(text.to_owned())));
    // Whatever it asks then.
    assert!(matches!(tape.ask(|| find("blue")), Play::Over));
    assert_eq!(tape.replayed().unwrap().difference.as_deref(), Some(text));

    // The details of the same question.
    let tape = replaying(|recording| {
        recording.exchanges[0].question = Question::Acquire {
            name: "blue".to_owned(),
            wait_ms: 5,
        };
    });
    tape.ask(acquire);
    let difference = tape.replayed().unwrap().difference.unwrap();
    assert!(
        difference.contains("wait_ms: 0 } where") && difference.contains("wait_ms: 5 } was"),
        "{difference}"
    );
}

#[test]
fn a_call_that_asks_more_or_less_is_told_so() {
    let tape = replaying(|recording| recording.exchanges.truncate(1));
    tape.ask(|| find("blue"));
    assert!(matches!(tape.ask(|| find("red")), Play::Over));
    let difference = tape.replayed().unwrap().difference.unwrap();
    assert!(
        difference.starts_with("the component asked `find \"red\"`, and the recorded call had ended"),
        "{difference}"
    );

    let tape = replaying(|_| ());
    tape.ask(|| find("blue"));
    let difference = tape.replayed().unwrap().difference.unwrap();
    assert!(
        difference.starts_with("the component ended where it asked `acquire \"blue\"`"),
        "{difference}"
    );

    let tape = replaying(|_| ());
    tape.ask(|| find("blue"));
    tape.ask(acquire);
    tape.reading(Clock::Wall, || unreachable!());
    let difference = tape.replayed().unwrap().difference.unwrap();
    assert!(
        difference.starts_with("the component read its clocks less often"),
        "{difference}"
    );

    let tape = replaying(|_| ());
    tape.reading(Clock::Monotonic, || unreachable!());
    assert_eq!(
        tape.reading(Clock::Monotonic, || unreachable!()),
        3,
        "time stands still"
    );
    let difference = tape.replayed().unwrap().difference.unwrap();
    assert!(difference.starts_with("the component read a clock"), "{difference}");
}

#[test]
fn a_call_that_the_host_has_ended_ends_where_it_was() {
    let ended = |recording: &mut Recording| {
        let why = Why::CpuTime;
        recording.ended = Some(End { why, writes: 2 });
    };
    let tape = replaying(ended);
    tape.ask(|| find("blue"));
    tape.ask(acquire);
    for clock in [Clock::Wall, Clock::Monotonic, Clock::Wall] {
        assert_eq!(over(&tape), None);
        tape.reading(clock, || unreachable!());
    }
    assert_eq!((tape.writes(), over(&tape)), (true, None));
    assert_eq!((tape.writes(), over(&tape)), (true, Some(Over::Ended(Why::CpuTime))));
    assert!(!tape.writes(), "it could not write any more");
    assert_eq!(tape.replayed().unwrap().difference, None);

    // While it waited for an answer.
    let tape = replaying(|recording| {
        ended(recording);
        recording.exchanges[1].answer = None;
    });
    tape.ask(|| find("blue"));
    assert_eq!(over(&tape), None);
    assert!(matches!(tape.ask(acquire), Play::Over));
    assert_eq!(over(&tape), Some(Over::Ended(Why::CpuTime)));
}

#[test]
fn a_mended_component_may_do_more_than_the_one_that_was_ended() {
    let mut recording = recording();
    recording.ended = Some(End {
        why: Why::LeaseLost,
        writes: 0,
    });
    recording.wall_ms.clear();
    recording.monotonic_ms.clear();
    let tape = Tape::replaying(Arc::new(recording), false).unwrap();
    tape.ask(|| find("blue"));
    tape.ask(acquire);
    assert_eq!((tape.writes(), over(&tape)), (true, None));
    // Nobody knows what it would be told.
    tape.ask(|| find("red"));
    let text = "the component asked `find \"red\"`, and the host had ended the recorded call by then, because a lease was lost";
    assert_eq!(over(&tape), Some(Over::Differs(text.to_owned())));
    assert_eq!(tape.replayed().unwrap().difference.as_deref(), Some(text));
}

#[test]
fn random_numbers_come_from_the_seed_and_from_nothing_else() {
    use chacha20::rand_core::Rng as _;
    let draw = |seed: &str| {
        let seed = Seed::parse(seed).unwrap();
        let (mut secure, mut insecure) = (seed.secure(), seed.insecure());
        (secure.next_u64(), insecure.next_u64(), seed.insecure_seed())
    };
    let (one, other) = ("01".repeat(32), "02".repeat(32));
    assert_eq!(draw(&one), draw(&one));
    let (drawn, others) = (draw(&one), draw(&other));
    assert!(drawn.0 != others.0 && drawn.1 != others.1 && drawn.2 != others.2 && drawn.0 != drawn.1);
    for wrong in ["", "01", &"0g".repeat(32), &"é1".repeat(32), &"+1".repeat(32)] {
        assert!(Seed::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn every_question_has_a_length_and_words() {
    let pairs = vec![("k".repeat(100), "v".repeat(100))];
    let change = Change {
        owner: Some("o".repeat(100)),
        lifetime: None,
        attributes: Some(pairs.clone()),
    };
    let update = Question::Write(Write::Update {
        lease: "l".to_owned(),
        change,
    });
    assert!(update.bytes() > 300 && find("x").bytes() < 200);
    assert_eq!(update.to_string(), "update \"l\"");
    let limits: Limits = recording().limits;
    assert_eq!(about(recording().request).limits, limits);
}
