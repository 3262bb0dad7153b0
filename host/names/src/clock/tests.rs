use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000;

#[test]
fn a_course_follows_a_wall_clock_by_at_most_a_hundredth() {
    let course = Course::from(5_000, 1_000_000);
    assert_eq!(course.time_ms(5_000), 1_000_000);
    assert_eq!(course.time_ms(65_000), 1_060_000);
    let ahead = course.towards(5_000, 3 * HOUR);
    assert_eq!(ahead.time_ms(65_000), 1_060_600);
    let behind = course.towards(5_000, -3 * HOUR);
    assert_eq!(behind.time_ms(65_000), 1_059_400);
    // What is to be corrected is corrected, and no more.
    assert_eq!(course.towards(5_000, 200).time_ms(65_000), 1_060_200);
    assert_eq!(course.towards(5_000, -200).time_ms(65_000), 1_059_800);
    // A machine whose time is behind that of the row makes it stand, not go back.
    assert_eq!(behind.time_ms(0), 1_000_000);
}

proptest! {
    // Shows P1: whatever is done to the wall clock, time neither goes back nor leaves 1 % of the monotonic clock.
    #[test]
    fn time_never_steps(
        steps in proptest::collection::vec((0..5_000_i64, -4 * HOUR..4 * HOUR, any::<bool>()), 1..60),
    ) {
        let mut course = Course::from(0, 1_000 * HOUR);
        let (mut boot, mut last) = (0, course.time_ms(0));
        let begin = last;
        for (passes, off, keeps) in steps {
            boot += passes;
            let now = course.time_ms(boot);
            prop_assert!(now >= last);
            let most = boot / CORRECTION_SHARE;
            prop_assert!((now - begin - boot).abs() <= most, "{} for {}", now - begin, boot);
            if keeps {
                course = course.towards(boot, off);
                prop_assert_eq!(course.time_ms(boot), now, "nothing steps where a course ends");
            }
            last = now;
        }
    }

    // Of all rows that a purge may delete, each has been gone for a whole retention that somebody has seen.
    #[test]
    fn a_purge_follows_no_jump(
        steps in proptest::collection::vec((1..40_i64, proptest::option::weighted(0.3, 1..200_i64)), 1..60),
        retention in 1..100_i64,
    ) {
        // How much was observed by each time that was reached.
        let mut observed = vec![(1_000, 0)];
        let (mut now, mut seen) = (1_000, 0);
        let mut steady = Steady::since(now);
        for (passes, jump) in steps {
            now += passes;
            seen += passes;
            observed.push((now, seen));
            if let Some(jump) = jump {
                steady = steady.after_jump(now, now + jump, retention);
                now += jump;
                observed.push((now, seen));
            }
            let before = steady.purge_before_ms(now, retention);
            for (ended, seen_then) in observed.iter().filter(|(ended, _)| *ended <= before) {
                prop_assert!(seen - seen_then >= retention, "ended {ended}, now {now}, {steady:?}");
            }
            // It deletes again once that time was observed, however often it jumped.
            if seen >= retention && jump.is_none() {
                let jumped: i64 = observed.windows(2).map(|pair| (pair[1].0 - pair[0].0) - (pair[1].1 - pair[0].1)).sum();
                prop_assert!(before >= now - retention - jumped - 1_000);
            }
        }
    }
}

#[test]
fn nothing_is_purged_in_the_retention_after_a_jump_that_was_not_purgeable_before() {
    let steady = Steady::since(0);
    let now = 10 * HOUR;
    assert_eq!(steady.purge_before_ms(now, HOUR), now - HOUR);
    let jumped = steady.after_jump(now, now + 3 * HOUR, HOUR);
    let now = now + 3 * HOUR;
    assert_eq!(jumped.purge_before_ms(now, HOUR), now - 4 * HOUR);
    assert_eq!(jumped.purge_before_ms(now + HOUR - 1, HOUR), now - 3 * HOUR - 1);
    assert_eq!(jumped.purge_before_ms(now + HOUR, HOUR), now);
    // Two jumps add up as long as no whole retention lies between them.
    let twice = jumped.after_jump(now + 1, now + HOUR + 1, HOUR);
    assert_eq!(twice.jumped_ms, 4 * HOUR);
    // Nothing is known of what was before the first time that was kept.
    assert!(Steady::since(now).purge_before_ms(now, HOUR) < 0);
}

#[test]
fn a_newcomer_believes_the_server_only_after_it_has_seen_that_nobody_is_there() {
    const LATE: i64 = 99 * HOUR;
    let arrival = |time_ms, jumped| Some(Arrival { time_ms, jumped });
    // Somebody was there a moment ago, or the server's clock is behind.
    assert_eq!(
        Newcomer::default().look(1_000, 50_000, 59_000, LATE),
        arrival(10_000, false)
    );
    assert_eq!(
        Newcomer::default().look(1_000, 50_000, 20_000, LATE),
        arrival(1_000, false)
    );
    // The clock was set three hours ahead while somebody is there, who keeps the time.
    let mut newcomer = Newcomer::default();
    assert_eq!(newcomer.look(50_000, 50_000, 50_000 + 3 * HOUR, LATE), None);
    let then = 51_000 + 3 * HOUR;
    assert_eq!(newcomer.look(51_000, then, then + 500, LATE), arrival(51_500, false));
    // Nobody is there.
    let mut newcomer = Newcomer::default();
    for second in 0..2 {
        assert_eq!(newcomer.look(50_000, 50_000, (60 + second) * 1_000 + HOUR, LATE), None);
    }
    assert_eq!(
        newcomer.look(50_000, 50_000, 62_000 + HOUR, LATE),
        arrival(62_000 + HOUR, true)
    );
    // Nobody is there, and the time that was kept is ahead of the server's clock: it goes on.
    let mut newcomer = Newcomer::default();
    for second in 0..2 {
        assert_eq!(newcomer.look(HOUR * 9, 50_000, (70 + second) * 1_000, LATE), None);
    }
    assert_eq!(newcomer.look(HOUR * 9, 50_000, 72_000, LATE), arrival(HOUR * 9, false));
}

// Shows P1: the server's clock alone moves nothing, however long it says that nobody was there.
#[test]
fn a_newcomer_believes_the_server_no_further_than_its_own_clock() {
    let looks = |server_ms: i64, host_ms: i64| {
        let mut newcomer = Newcomer::default();
        let mut looks = (0..100).map(|_| newcomer.look(50_000, 50_000, server_ms, host_ms));
        looks.find_map(|arrival| arrival)
    };
    let arrival = |time_ms, jumped| Some(Arrival { time_ms, jumped });
    assert_eq!(looks(3 * HOUR, 53_000), arrival(53_000, true), "the server's is ahead");
    assert_eq!(looks(3 * HOUR, 2 * HOUR), arrival(2 * HOUR, true));
    assert_eq!(looks(3 * HOUR, 1_000), arrival(50_000, false), "the host's is behind");
    assert_eq!(
        looks(59_000, 50_700),
        arrival(50_700, false),
        "the server's has made a small step"
    );
    assert_eq!(looks(59_000, 1_000), arrival(50_000, false));
}

#[test]
fn a_newcomer_whose_clock_is_behind_takes_the_time_when_somebody_keeps_it_anew() {
    let mut newcomer = Newcomer::default();
    for passed in [300, 320, 340] {
        assert_eq!(newcomer.look(50_000, 70_000, 70_000 + passed, 48_000), None);
        assert!(newcomer.is_watching());
    }
    let arrival = Some(Arrival {
        time_ms: 51_000,
        jumped: false,
    });
    // It was kept between the last two looks.
    assert_eq!(newcomer.look(51_000, 71_000, 71_010, 48_700), arrival);
    // Where both clocks say how much has passed, nothing is waited for.
    assert_eq!(Newcomer::default().look(50_600, 70_000, 70_400, 51_000), arrival);
}
