use tokio::time::Instant;

use super::*;

/// A server whose clock is set once a second, `phase` after the second, and its sentinel made at the beginning.
struct Server {
    begin: Instant,
    phase: Duration,
    /// How long it stood still, and since when it does.
    stopped: Option<Duration>,
    jumped: Duration,
    /// How long this host was suspended.
    host_suspended: Duration,
}

impl Server {
    fn new(phase_ms: u64) -> Self {
        Self {
            begin: Instant::now(),
            phase: Duration::from_millis(phase_ms),
            stopped: None,
            jumped: Duration::ZERO,
            host_suspended: Duration::ZERO,
        }
    }

    /// This host's time, by the clock of leases.
    fn now(&self) -> LeaseInstant {
        now() + self.host_suspended
    }

    fn age(&self) -> u32 {
        let now = self.stopped.unwrap_or_else(|| self.begin.elapsed());
        // The latest instant at which it was set, and what it was set to.
        let set = Duration::from_secs((now.saturating_sub(self.phase)).as_secs()) + self.phase;
        u32::try_from((set + self.jumped).as_secs()).unwrap()
    }

    fn look(&self, clock: &mut ServerClock) -> Result<Dating, JumpedAhead> {
        let now = self.now();
        clock.read(Reading {
            age: self.age(),
            sent: now,
            received: now,
        })
    }

    /// Looks four times a second.
    async fn watch(&self, clock: &mut ServerClock, time: Duration) -> Dating {
        let begin = Instant::now();
        loop {
            let dating = self.look(clock).unwrap();
            if begin.elapsed() >= time {
                return dating;
            }
            tokio::time::advance(Duration::from_millis(250)).await;
        }
    }
}

fn now() -> LeaseInstant {
    LeaseInstant::of_test(Instant::now())
}

fn clock() -> (ServerClock, LockConfig) {
    let config = LockConfig::default();
    (ServerClock::new(&config, now()), config)
}

// Shows P5: nothing is trusted before the clock was seen to tick.
#[tokio::test(start_paused = true)]
async fn a_clock_is_believed_from_its_first_tick_on() {
    let (mut clock, config) = clock();
    let server = Server::new(900);
    let lease = |from: LeaseInstant| from + config.lease;
    tokio::time::advance(Duration::from_millis(1000)).await;
    let first = server.watch(&mut clock, Duration::from_millis(500)).await;
    assert!(clock.fault().is_some());
    assert!(!first.covers(config.ttl_seconds(), lease(now())));
    let ticked = server.watch(&mut clock, Duration::from_millis(750)).await;
    assert_eq!(clock.fault(), None);
    assert!(ticked.covers(config.ttl_seconds(), lease(now())));
}

#[tokio::test(start_paused = true)]
async fn a_healthy_clock_covers_every_lease_whatever_its_phase() {
    for phase in [0, 1, 250, 500, 750, 999] {
        let (mut clock, config) = clock();
        let server = Server::new(phase);
        server.watch(&mut clock, Duration::from_secs(3)).await;
        for _ in 0..60 {
            tokio::time::advance(Duration::from_millis(90)).await;
            let dating = server.look(&mut clock).unwrap();
            assert!(
                dating.covers(config.ttl_seconds(), now() + config.lease),
                "phase {phase}"
            );
            assert_eq!(clock.fault(), None);
        }
    }
}

/// The bound is never to the unsafe side: what is said to be covered lives by the server's clock.
#[tokio::test(start_paused = true)]
async fn what_is_covered_lives_for_as_long_on_the_server() {
    for phase in [0, 300, 999] {
        let (mut clock, _) = clock();
        let server = Server::new(phase);
        server.watch(&mut clock, Duration::from_millis(2600)).await;
        for ttl in 1..6 {
            let dating = server.look(&mut clock).unwrap();
            let expires = server.age() + ttl;
            let (asked, begin) = (now(), Instant::now());
            let mut lived = Duration::ZERO;
            while server.age() < expires {
                lived = begin.elapsed();
                tokio::time::advance(Duration::from_millis(10)).await;
                let _ = server.look(&mut clock);
            }
            assert!(
                !dating.covers(ttl, asked + lived + Duration::from_millis(11)),
                "{phase} {ttl} {lived:?}"
            );
        }
    }
}

// Shows P5: a server that stood still is not believed until its clock is right again.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_behind_is_a_fault_until_it_has_ticked() {
    let (mut clock, config) = clock();
    let mut server = Server::new(400);
    server.watch(&mut clock, Duration::from_secs(3)).await;
    server.stopped = Some(server.begin.elapsed());
    tokio::time::advance(Duration::from_secs(3)).await;
    // It runs again, and has not set its clock yet.
    let behind = server.look(&mut clock).unwrap();
    assert!(clock.fault().unwrap().contains("behind"));
    assert!(!behind.covers(config.ttl_seconds(), now() + config.lease));
    server.stopped = None;
    let right = server.look(&mut clock).unwrap();
    assert_eq!(clock.fault(), None);
    assert!(right.covers(config.ttl_seconds(), now() + config.lease));
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_this_host_says_nothing_about_the_server() {
    let (mut clock, config) = clock();
    let server = Server::new(400);
    server.watch(&mut clock, Duration::from_secs(3)).await;
    // The look is answered at once, and the answer read late.
    let asked = now();
    let age = server.age();
    tokio::time::advance(Duration::from_millis(900)).await;
    let dating = clock.read(Reading {
        age,
        sent: asked,
        received: now(),
    });
    assert!(dating.unwrap().covers(config.ttl_seconds(), asked + config.lease));
    assert_eq!(clock.fault(), None);
    tokio::time::advance(Duration::from_secs(5)).await;
    let dating = server.look(&mut clock).unwrap();
    assert!(dating.covers(config.ttl_seconds(), now() + config.lease));
    assert_eq!(clock.fault(), None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_is_noticed() {
    let (mut clock, _) = clock();
    let mut server = Server::new(400);
    server.watch(&mut clock, Duration::from_secs(3)).await;
    server.jumped = Duration::from_secs(3);
    assert!(matches!(server.look(&mut clock), Err(JumpedAhead)));
    assert!(clock.fault().is_some(), "it is learned anew");
    server.watch(&mut clock, Duration::from_secs(2)).await;
    assert_eq!(clock.fault(), None);
}

#[tokio::test(start_paused = true)]
async fn a_sentinel_that_somebody_has_used_is_watched_anew() {
    let (mut clock, _) = clock();
    let mut server = Server::new(400);
    server.watch(&mut clock, Duration::from_secs(80)).await;
    server.begin = Instant::now();
    tokio::time::advance(Duration::from_millis(250)).await;
    server.look(&mut clock).unwrap();
    assert!(clock.fault().is_some());
    server.watch(&mut clock, Duration::from_secs(2)).await;
    assert_eq!(clock.fault(), None);
}

// Shows P5: what a tick has proved goes for the time after a suspend too.
#[tokio::test(start_paused = true)]
async fn a_suspend_of_this_host_alone_says_nothing_about_the_server() {
    for suspended_ms in [300, 1100, 5_000, 3_600_000] {
        let (mut clock, config) = clock();
        let mut server = Server::new(400);
        server.watch(&mut clock, Duration::from_secs(3)).await;
        // The server goes on while the monotonic clock of this host stands still.
        let suspended = Duration::from_millis(suspended_ms);
        server.begin -= suspended;
        server.host_suspended = suspended;
        let dating = server.look(&mut clock).unwrap();
        let is_covered = dating.covers(config.ttl_seconds(), server.now() + config.lease);
        // After a long one nothing is remembered of the ticks before, and the next one is waited for.
        assert_eq!(
            (clock.fault(), is_covered),
            match suspended_ms {
                3_600_000 => (Some(NOT_TICKED), false),
                _ => (None, true),
            }
        );
        let dating = server.watch(&mut clock, Duration::from_millis(1500)).await;
        assert!(dating.covers(config.ttl_seconds(), server.now() + config.lease));
        assert_eq!(clock.fault(), None, "{suspended_ms}");
    }
}

/// A server on this machine has slept as well: its locks last for longer than this host thinks, and its clock is learned
/// anew.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_suspended_with_this_host_grants_from_its_next_tick_on() {
    let (mut clock, config) = clock();
    let mut server = Server::new(400);
    server.watch(&mut clock, Duration::from_secs(3)).await;
    server.host_suspended = Duration::from_secs(7);
    server.look(&mut clock).unwrap();
    assert!(clock.fault().unwrap().contains("behind"));
    let dating = server.watch(&mut clock, Duration::from_millis(2500)).await;
    assert_eq!(clock.fault(), None);
    assert!(dating.covers(config.ttl_seconds(), server.now() + config.lease));
}
