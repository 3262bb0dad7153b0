//! The protocol as a model, in which everything that can happen does: every order of requests, replies, ticks, stalls and restarts.
//!
//! Two hosts want one name on one memcached. Time goes in ticks; one tick stands for the longest exchange, the longest stall that
//! nobody notices, and the coarseness of memcached's clock, which is what the time to live is made of: a lease of two ticks, and one
//! for each of the others.
//!
//! Exhaustive within the [`Bounds`] that each test states: two hosts, so many attempts, renewals, ticks, stalls of any length, and
//! restarts. What is left out: several keys (they do not know of each other), several servers (a name has one), and a host that starts
//! after a restart and knows of no life before (it is told by the others; the tests of the real thing show how).
//!
//! A model that cannot fail shows nothing, so each rule is taken out once, and must be missed.

use stateright::{Checker, HasDiscoveries, Model, Property};

const LEASE: u8 = 2;
const EXCHANGE: u8 = 1;
const COARSE: u8 = 1;
const HOSTS: usize = 2;

/// How much of the world is looked at.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    ticks: u8,
    asks: u8,
    stalls: u8,
    restarts: u8,
    renewals: u8,
}

/// The rules of the protocol, of which a test takes one out.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// The time to live has room for the coarse clock and a stall.
    roomy_ttl: bool,
    /// A lease is trusted from before its request was sent, not from its reply.
    early_deadline: bool,
    /// A CAS is sent only over a connection to the process that it came from.
    cas_stays_home: bool,
    /// After a stall nothing is trusted until the clock has ticked.
    stalls_noticed: bool,
    /// A fencing token begins with the life of the server.
    epoch_in_token: bool,
    /// Whoever finds the server in another life asks it for nothing for as long as a lease.
    restart_grace: bool,
}

const ALL: Rules = Rules {
    roomy_ttl: true,
    early_deadline: true,
    cas_stays_home: true,
    stalls_noticed: true,
    epoch_in_token: true,
    restart_grace: true,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Item {
    owner: u8,
    cas: u8,
    /// By the server's clock.
    expires: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Host {
    Idle,
    /// Sent a take, and waits.
    Asked {
        at: u8,
        attempt: u8,
    },
    /// Trusts its lease until the deadline.
    Holds {
        attempt: u8,
        cas: u8,
        life: u8,
        deadline: u8,
    },
    /// Has asked for more time.
    Renews {
        attempt: u8,
        cas: u8,
        life: u8,
        deadline: u8,
        at: u8,
    },
    /// Gives back what it may have: it knows the CAS, or only the attempt.
    Releases {
        attempt: u8,
        known: Option<(u8, u8)>,
    },
}

/// What is on its way. It may arrive late, and also after its sender has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Take { host: u8, attempt: u8 },
    Granted { host: u8, attempt: u8, cas: u8, life: u8 },
    Renew { host: u8, attempt: u8, cas: u8, life: u8 },
    Renewed { host: u8, attempt: u8, cas: u8 },
    Delete { cas: u8, life: u8, owner: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    time: u8,
    asks: u8,
    renewals: u8,
    life: u8,
    restarts: u8,
    next_cas: u8,
    item: Option<Item>,
    /// How far the server's clock is behind.
    behind: u8,
    /// Since when it stands still.
    stalled: Option<u8>,
    stalls: u8,
    /// Until when what it grants is not trusted.
    distrusted: u8,
    hosts: [Host; HOSTS],
    /// The life that each host is connected to, or was, and until when it asks for nothing.
    known: [u8; HOSTS],
    grace: [u8; HOSTS],
    /// Who has held it.
    held: [bool; HOSTS],
    messages: Vec<Message>,
    /// The life and CAS of the grant before, and whether a later one had a smaller token.
    last_token: u16,
    token_went_back: bool,
    /// Whether a release has deleted what another host held.
    robbed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Tick { clock_keeps_up: bool },
    Connect(usize),
    Ask(usize),
    Renew(usize),
    Release(usize),
    GiveUp(usize),
    Look(usize),
    Deliver(Message),
    Lose(Message),
    Stall,
    GoOn,
    Restart,
}

struct Protocol {
    bounds: Bounds,
    rules: Rules,
}

impl World {
    fn server_time(&self) -> u8 {
        self.time.saturating_sub(self.behind)
    }

    fn live_item(&self) -> Option<Item> {
        self.item.filter(|item| item.expires > self.server_time())
    }

    fn trusts(&self, host: usize) -> bool {
        match self.hosts[host] {
            Host::Holds { deadline, .. } | Host::Renews { deadline, .. } => self.time < deadline,
            Host::Idle | Host::Asked { .. } | Host::Releases { .. } => false,
        }
    }

    fn send(&mut self, message: Message) {
        self.messages.push(message);
        self.messages.sort_unstable();
    }
}

impl Protocol {
    fn ttl(&self) -> u8 {
        if self.rules.roomy_ttl {
            LEASE + COARSE + EXCHANGE
        } else {
            LEASE
        }
    }

    /// What the server does with a request.
    fn serve(&self, world: &mut World, request: Message) {
        match request {
            Message::Take { host, attempt } => {
                if world.live_item().is_none() {
                    let cas = world.next_cas;
                    world.next_cas += 1;
                    world.item = Some(Item {
                        owner: attempt,
                        cas,
                        expires: world.server_time() + self.ttl(),
                    });
                    let life = if self.rules.epoch_in_token {
                        u16::from(world.life)
                    } else {
                        0
                    };
                    let token = life * 100 + u16::from(cas);
                    world.token_went_back |= token <= world.last_token;
                    world.last_token = token;
                    world.send(Message::Granted {
                        host,
                        attempt,
                        cas,
                        life: world.life,
                    });
                }
            }
            Message::Renew {
                host,
                attempt,
                cas,
                life,
            } => {
                let expires = world.server_time() + self.ttl();
                let next = world.next_cas;
                if let Some(item) = world.live_item().filter(|item| item.cas == cas && life == world.life) {
                    world.item = Some(Item {
                        cas: next,
                        expires,
                        ..item
                    });
                    world.next_cas += 1;
                    world.send(Message::Renewed {
                        host,
                        attempt,
                        cas: next,
                    });
                }
            }
            Message::Delete { cas, life, owner } => {
                // A request over a connection to the process before never comes here, unless the rule is taken out.
                let comes = life == world.life || !self.rules.cas_stays_home;
                if let Some(item) = world.live_item().filter(|item| comes && item.cas == cas) {
                    world.robbed |= item.owner != owner;
                    world.item = None;
                }
            }
            Message::Granted { .. } | Message::Renewed { .. } => {}
        }
    }

    /// What a host does with a reply. One that comes for an attempt that it has given up is none of its business.
    fn hear(&self, world: &mut World, reply: Message) {
        let (Message::Granted { host, attempt, .. } | Message::Renewed { host, attempt, .. }) = reply else {
            return;
        };
        let host = usize::from(host);
        match (world.hosts[host], reply) {
            (Host::Asked { at, attempt: mine }, Message::Granted { cas, life, .. }) if mine == attempt => {
                let late = world.time - at > EXCHANGE;
                let distrusted = self.rules.stalls_noticed && world.time < world.distrusted;
                world.hosts[host] = if late || distrusted {
                    Host::Releases {
                        attempt,
                        known: Some((cas, life)),
                    }
                } else {
                    let from = if self.rules.early_deadline { at } else { world.time };
                    world.held[host] = true;
                    Host::Holds {
                        attempt,
                        cas,
                        life,
                        deadline: from + LEASE,
                    }
                };
            }
            (
                Host::Renews {
                    attempt: mine,
                    life,
                    deadline,
                    at,
                    ..
                },
                Message::Renewed { cas, .. },
            ) if mine == attempt => {
                let distrusted = self.rules.stalls_noticed && world.time < world.distrusted;
                let in_time = world.time - at <= EXCHANGE && !distrusted;
                let deadline = if in_time { at + LEASE } else { deadline };
                world.hosts[host] = Host::Holds {
                    attempt,
                    cas,
                    life,
                    deadline,
                };
            }
            _ => {}
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            time: 0,
            asks: 0,
            renewals: 0,
            life: 1,
            restarts: 0,
            next_cas: 1,
            item: None,
            behind: 0,
            stalled: None,
            stalls: 0,
            distrusted: 0,
            hosts: [Host::Idle; HOSTS],
            known: [1; HOSTS],
            grace: [0; HOSTS],
            held: [false; HOSTS],
            messages: Vec::new(),
            last_token: 0,
            token_went_back: false,
            robbed: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.time < self.bounds.ticks {
            actions.push(Action::Tick { clock_keeps_up: true });
            actions.push(Action::Tick { clock_keeps_up: false });
        }
        for (number, host) in world.hosts.iter().enumerate() {
            let connected = world.known[number] == world.life;
            if !connected && world.stalled.is_none() {
                actions.push(Action::Connect(number));
            }
            let may_ask = connected && world.time >= world.distrusted.max(world.grace[number]);
            match *host {
                Host::Idle if world.asks < self.bounds.asks && may_ask => actions.push(Action::Ask(number)),
                Host::Idle => {}
                Host::Asked { at, .. } if world.time - at > EXCHANGE => actions.push(Action::GiveUp(number)),
                Host::Asked { .. } => {}
                Host::Holds { .. } => {
                    actions.push(Action::Release(number));
                    if world.renewals < self.bounds.renewals && connected && world.trusts(number) {
                        actions.push(Action::Renew(number));
                    }
                }
                Host::Renews { at, .. } if world.time - at > EXCHANGE => actions.push(Action::GiveUp(number)),
                Host::Renews { .. } => {}
                Host::Releases { .. } => actions.push(Action::Look(number)),
            }
        }
        for message in &world.messages {
            let request = matches!(
                message,
                Message::Take { .. } | Message::Renew { .. } | Message::Delete { .. }
            );
            if !request || world.stalled.is_none() {
                actions.push(Action::Deliver(*message));
            }
            actions.push(Action::Lose(*message));
        }
        if world.stalled.is_some() {
            actions.push(Action::GoOn);
        } else if world.stalls < self.bounds.stalls {
            actions.push(Action::Stall);
        }
        if world.restarts < self.bounds.restarts {
            actions.push(Action::Restart);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick { clock_keeps_up } => {
                world.time += 1;
                if world.stalled.is_some() {
                    world.behind += 1;
                } else if clock_keeps_up {
                    world.behind = 0;
                } else if world.behind < COARSE {
                    world.behind += 1;
                } else {
                    // It ticks at least that often, and then it is right again.
                    return None;
                }
            }
            Action::Connect(host) => {
                world.known[host] = world.life;
                if self.rules.restart_grace {
                    world.grace[host] = world.time + LEASE;
                }
                // Its lease of before is lost. Another one may still trust its own.
                if let Host::Holds { attempt, cas, life, .. } | Host::Renews { attempt, cas, life, .. } =
                    world.hosts[host]
                {
                    world.hosts[host] = Host::Releases {
                        attempt,
                        known: Some((cas, life)),
                    };
                }
            }
            Action::Ask(host) => {
                world.asks += 1;
                let attempt = world.asks;
                world.hosts[host] = Host::Asked {
                    at: world.time,
                    attempt,
                };
                world.send(Message::Take {
                    host: host as u8,
                    attempt,
                });
            }
            Action::Renew(host) => {
                let Host::Holds {
                    attempt,
                    cas,
                    life,
                    deadline,
                } = world.hosts[host]
                else {
                    return None;
                };
                world.renewals += 1;
                world.hosts[host] = Host::Renews {
                    attempt,
                    cas,
                    life,
                    deadline,
                    at: world.time,
                };
                world.send(Message::Renew {
                    host: host as u8,
                    attempt,
                    cas,
                    life,
                });
            }
            Action::Release(host) => {
                let Host::Holds { attempt, cas, life, .. } = world.hosts[host] else {
                    return None;
                };
                world.hosts[host] = Host::Idle;
                world.send(Message::Delete {
                    cas,
                    life,
                    owner: attempt,
                });
            }
            Action::GiveUp(host) => match world.hosts[host] {
                Host::Asked { attempt, .. } => world.hosts[host] = Host::Releases { attempt, known: None },
                // It does not know its CAS any more; what it trusts, it trusts as long as before.
                Host::Renews {
                    attempt,
                    cas,
                    life,
                    deadline,
                    ..
                } => {
                    world.hosts[host] = Host::Holds {
                        attempt,
                        cas,
                        life,
                        deadline,
                    };
                }
                _ => return None,
            },
            Action::Look(host) => {
                let Host::Releases { attempt, known } = world.hosts[host] else {
                    return None;
                };
                if world.stalled.is_some() {
                    return None;
                }
                // The token tells whether the item is its own, and the reply tells the CAS in this life.
                let found = world.live_item().filter(|item| item.owner == attempt);
                let (cas, life) = match (found, known) {
                    (Some(item), _) => (item.cas, world.life),
                    (None, Some(known)) => known,
                    (None, None) => (0, world.life),
                };
                world.hosts[host] = Host::Idle;
                world.send(Message::Delete {
                    cas,
                    life,
                    owner: attempt,
                });
            }
            Action::Deliver(message) | Action::Lose(message) => {
                let at = world.messages.iter().position(|other| *other == message)?;
                world.messages.remove(at);
                if matches!(action, Action::Deliver(_)) {
                    self.serve(&mut world, message);
                    self.hear(&mut world, message);
                }
            }
            Action::Stall => {
                world.stalls += 1;
                world.stalled = Some(world.time);
            }
            Action::GoOn => {
                let since = world.stalled.take()?;
                // A shorter one is in the time to live; of a longer one the late reply to a heartbeat tells before any grant.
                if world.time - since > EXCHANGE {
                    world.distrusted = world.time + COARSE + 1;
                }
            }
            Action::Restart => {
                world.restarts += 1;
                world.life += 1;
                world.next_cas = 1;
                world.item = None;
                world.stalled = None;
                world.behind = 0;
                // A connection does not outlive its server; what came back before it ended may still be read.
                let survives = |message: &Message| match message {
                    Message::Take { .. } => false,
                    Message::Renew { .. } | Message::Delete { .. } => !self.rules.cas_stays_home,
                    Message::Granted { .. } | Message::Renewed { .. } => true,
                };
                world.messages.retain(survives);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("a release takes nothing from another", |_, world| !world.robbed),
            Property::<Self>::always("fencing tokens grow", |_, world| !world.token_went_back),
            Property::<Self>::sometimes("one holds it after the other", |model, world| {
                world.held == [true; HOSTS] && world.restarts == model.bounds.restarts
            }),
            Property::<Self>::always("one holder at a time", |_, world: &World| {
                !(world.trusts(0) && world.trusts(1))
            }),
        ]
    }
}

/// The first promise that does not hold, within these bounds and with these rules.
fn broken(bounds: Bounds, rules: Rules) -> Option<&'static str> {
    let checker = Protocol { bounds, rules }
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!("{bounds:?}: {} states", checker.unique_state_count());
    let always = [
        "a release takes nothing from another",
        "fencing tokens grow",
        "one holder at a time",
    ];
    let sometimes = checker.discovery("one holds it after the other");
    let found = checker.discoveries();
    let broken = always.into_iter().find(|name| found.contains_key(name));
    assert!(
        broken.is_some() || sometimes.is_some(),
        "nothing ever happens in this model"
    );
    broken
}

const STALLS: Bounds = Bounds {
    ticks: 7,
    asks: 2,
    stalls: 1,
    restarts: 0,
    renewals: 1,
};

const RESTARTS: Bounds = Bounds {
    ticks: 5,
    asks: 3,
    stalls: 0,
    restarts: 1,
    renewals: 0,
};

const BOTH: Bounds = Bounds {
    ticks: 5,
    asks: 2,
    stalls: 1,
    restarts: 1,
    renewals: 1,
};

#[test]
fn no_two_hosts_trust_a_lease_at_once_whatever_stalls_and_is_lost() {
    assert_eq!(broken(STALLS, ALL), None);
}

#[test]
fn every_promise_holds_over_a_restart() {
    assert_eq!(broken(RESTARTS, ALL), None);
}

#[test]
fn every_promise_holds_over_a_restart_a_stall_and_a_renewal() {
    assert_eq!(broken(BOTH, ALL), None);
}

#[test]
fn every_rule_is_missed_when_it_is_taken_out() {
    let check = |bounds, rules, expect| assert_eq!(broken(bounds, rules), Some(expect), "{rules:?}");
    check(
        STALLS,
        Rules {
            roomy_ttl: false,
            ..ALL
        },
        "one holder at a time",
    );
    check(
        STALLS,
        Rules {
            early_deadline: false,
            ..ALL
        },
        "one holder at a time",
    );
    check(
        STALLS,
        Rules {
            stalls_noticed: false,
            ..ALL
        },
        "one holder at a time",
    );
    check(
        RESTARTS,
        Rules {
            cas_stays_home: false,
            ..ALL
        },
        "a release takes nothing from another",
    );
    check(
        RESTARTS,
        Rules {
            epoch_in_token: false,
            ..ALL
        },
        "fencing tokens grow",
    );
    check(
        RESTARTS,
        Rules {
            restart_grace: false,
            ..ALL
        },
        "one holder at a time",
    );
}
