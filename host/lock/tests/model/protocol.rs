//! What the hosts and the server do: the steps of the model, and the properties that must hold.

use stateright::{Model, Property};

use super::database;
use super::rules::{Bounds, COARSE, HOSTS, LEASE, Rules, TTL};
use super::world::{Action, Host, Item, Message, Order, Row, Wish, World};

pub(super) struct Protocol {
    pub(super) bounds: Bounds,
    pub(super) rules: Rules,
}

impl Protocol {
    /// The epoch as it stands in a fencing token.
    fn in_token(&self, epoch: u8) -> u16 {
        match (self.rules.epoch_in_token, self.rules.epochs_in_order) {
            (false, _) => 0,
            (true, true) => epoch.into(),
            // Whoever began it had a clock that was further behind each time.
            (true, false) => u16::from(u8::MAX - epoch),
        }
    }

    /// Whether what was sent in this epoch is believed.
    fn sentinel_is_seen(&self, world: &World, epoch: u8) -> bool {
        epoch == world.epoch || !self.rules.sentinel_in_batch
    }

    /// Whether an item that expires then, by the server's clock, is known to outlive the trust in it.
    fn outlives(&self, expires: u8, deadline: u8) -> bool {
        // The server's clock is never ahead, so by real time it expires no earlier.
        expires >= deadline || !self.rules.server_clock_is_read
    }

    /// Does what the server does with a request.
    fn server_receives(&self, world: &mut World, request: Message) {
        match request {
            Message::Take { host, attempt, epoch } => {
                if world.live_item().is_none() {
                    let expires = world.server_time() + TTL;
                    let cas = world.next_cas;
                    world.next_cas += 1;
                    world.item = Some(Item {
                        owner: attempt,
                        cas,
                        expires,
                    });
                    if self.sentinel_is_seen(world, epoch) {
                        let token = self.in_token(epoch) * 100 + u16::from(cas);
                        world.token_went_back |= token <= world.last_token;
                        world.last_token = token;
                        if self.bounds.writes > 0 {
                            world.grants += 1;
                            let grant = world.grants;
                            world.orders[usize::from(attempt)] = Some(Order { token, grant });
                        }
                        world.send(Message::Granted {
                            host,
                            attempt,
                            cas,
                            epoch,
                            expires,
                        });
                    }
                }
            }
            Message::Renew {
                host,
                attempt,
                cas,
                epoch,
            } => {
                let expires = world.server_time() + TTL;
                let next = world.next_cas;
                if let Some(item) = world.live_item().filter(|item| item.cas == cas && epoch == world.epoch) {
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
                        expires,
                    });
                }
            }
            Message::Delete { cas, epoch, owner } => {
                // A request over a connection to the previous process never arrives here, unless the rule is removed.
                let arrives = epoch == world.epoch || !self.rules.cas_bound_to_connection;
                if let Some(item) = world.live_item().filter(|item| arrives && item.cas == cas) {
                    world.deleted_anothers_lock |= item.owner != owner;
                    world.item = None;
                }
            }
            Message::Granted { .. } | Message::Renewed { .. } | Message::Write { .. } | Message::Waiting { .. } => {}
        }
    }

    /// A tick of a host whose machine is suspended.
    fn sleep_on(&self, world: &mut World, host: usize) {
        if self.rules.leases_end_in_suspend {
            world.slept[host] += 1;
            return;
        }
        // Nothing of it goes on, so it wakes later than it thinks.
        match &mut world.hosts[host] {
            Host::Asked { at, .. } => *at += 1,
            Host::Holds { deadline, .. } => *deadline += 1,
            Host::Renews { deadline, at, .. } => {
                *deadline += 1;
                *at += 1;
            }
            Host::Idle | Host::Releases { .. } => {}
        }
    }

    /// Does what a host does with a reply. It ignores a reply to an attempt that it has given up.
    fn host_receives(&self, world: &mut World, reply: Message) {
        let (Message::Granted { host, attempt, .. } | Message::Renewed { host, attempt, .. }) = reply else {
            return;
        };
        let host = usize::from(host);
        match (world.hosts[host], reply) {
            (
                Host::Asked { at, attempt: mine },
                Message::Granted {
                    cas, epoch, expires, ..
                },
            ) if mine == attempt => {
                let late = world.is_late(host, at);
                world.hosts[host] = if late || !self.outlives(expires, at + LEASE) {
                    Host::Releases {
                        attempt,
                        known: Some((cas, epoch)),
                    }
                } else {
                    let from = if self.rules.early_deadline { at } else { world.time };
                    world.held[host] = true;
                    Host::Holds {
                        attempt,
                        cas,
                        epoch,
                        deadline: from + LEASE,
                    }
                };
            }
            (
                Host::Renews {
                    attempt: mine,
                    epoch,
                    deadline,
                    at,
                    ..
                },
                Message::Renewed { cas, expires, .. },
            ) if mine == attempt => {
                let is_good = !world.is_late(host, at) && self.outlives(expires, at + LEASE);
                let deadline = if is_good { at + LEASE } else { deadline };
                world.hosts[host] = Host::Holds {
                    attempt,
                    cas,
                    epoch,
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
            attempts: 0,
            renewals: 0,
            epoch: 1,
            epoch_began: 0,
            process: 1,
            restarts: 0,
            evictions: 0,
            fresh: 0,
            next_cas: 1,
            item: None,
            behind: 0,
            stalled: None,
            stalls: 0,
            hosts: [Host::Idle; HOSTS],
            known: [1; HOSTS],
            over: [1; HOSTS],
            grace: [0; HOSTS],
            held: [false; HOSTS],
            messages: Vec::new(),
            asleep: None,
            slept: [0; HOSTS],
            suspends: 0,
            orders: [None; 3],
            grants: 0,
            writes: 0,
            row: Row {
                active: false,
                token: 0,
                grant: 0,
            },
            older_came_last: false,
            overwritten: false,
            interfered: false,
            last_token: 0,
            token_went_back: false,
            deleted_anothers_lock: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.time < self.bounds.ticks {
            actions.push(Action::Tick { clock_keeps_up: true });
            actions.push(Action::Tick { clock_keeps_up: false });
        }
        for (number, host) in world.hosts.iter().enumerate() {
            if world.asleep == Some(number) {
                continue;
            }
            let connected = world.over[number] == world.process;
            if (!connected || world.known[number] != world.epoch) && world.stalled.is_none() {
                actions.push(Action::Connect(number));
            }
            if world.fresh < self.bounds.fresh {
                actions.push(Action::Start(number));
            }
            let in_attempt = matches!(host, Host::Asked { .. } | Host::Holds { .. } | Host::Renews { .. });
            if world.suspends < self.bounds.suspends && in_attempt {
                actions.push(Action::Suspend(number));
            }
            let may_ask = connected && world.time >= world.grace[number];
            match *host {
                Host::Idle if world.attempts < self.bounds.attempts && may_ask => actions.push(Action::Ask(number)),
                Host::Idle => {}
                Host::Asked { at, .. } if world.is_late(number, at) => actions.push(Action::GiveUp(number)),
                Host::Asked { .. } => {}
                Host::Holds { attempt, .. } => {
                    // A call that is over while its write is under way is like a write that is long on its way.
                    if !world.is_writing(attempt) {
                        actions.push(Action::Release(number));
                        if world.writes < self.bounds.writes && world.trusts(number) {
                            actions.extend([Wish::Save, Wish::Free].map(|wish| Action::Write(number, wish)));
                        }
                    }
                    if world.renewals < self.bounds.renewals && connected && world.trusts(number) {
                        actions.push(Action::Renew(number));
                    }
                }
                Host::Renews { at, .. } if world.is_late(number, at) => actions.push(Action::GiveUp(number)),
                Host::Renews { .. } => {}
                Host::Releases { .. } => actions.push(Action::Look(number)),
            }
        }
        for message in &world.messages {
            let arrives = match message {
                Message::Take { .. } | Message::Renew { .. } | Message::Delete { .. } => world.stalled.is_none(),
                Message::Granted { host, .. } | Message::Renewed { host, .. } => {
                    world.asleep != Some(usize::from(*host))
                }
                Message::Write { .. } | Message::Waiting { .. } => true,
            };
            if arrives {
                actions.push(Action::Deliver(*message));
            }
            // A write that is lost is like one that was never sent.
            if !matches!(message, Message::Write { .. } | Message::Waiting { .. }) {
                actions.push(Action::Lose(*message));
            }
        }
        if world.asleep.is_some() {
            actions.push(Action::Wake);
        }
        if world.stalled.is_some() {
            actions.push(Action::Resume);
        } else if world.stalls < self.bounds.stalls {
            actions.push(Action::Stall);
        }
        if world.restarts < self.bounds.restarts {
            actions.push(Action::Restart);
        }
        if world.evictions < self.bounds.evictions && world.live_item().is_some() {
            actions.push(Action::Evict);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick { clock_keeps_up } => {
                world.time += 1;
                if let Some(host) = world.asleep {
                    self.sleep_on(&mut world, host);
                }
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
                let is_first = world.epoch == 1;
                let has_grace = match world.known[host] {
                    0 => self.rules.fresh_host_grace && !is_first,
                    _ => self.rules.restart_grace,
                };
                world.known[host] = world.epoch;
                world.over[host] = world.process;
                if has_grace {
                    world.grace[host] = world.epoch_began + LEASE;
                }
                // Its lease from before is lost. The other host may still trust its own.
                if let Host::Holds {
                    attempt, cas, epoch, ..
                }
                | Host::Renews {
                    attempt, cas, epoch, ..
                } = world.hosts[host]
                {
                    world.hosts[host] = Host::Releases {
                        attempt,
                        known: Some((cas, epoch)),
                    };
                }
            }
            Action::Ask(host) => {
                world.attempts += 1;
                let attempt = world.attempts;
                world.hosts[host] = Host::Asked {
                    at: world.time,
                    attempt,
                };
                world.send(Message::Take {
                    host: host as u8,
                    attempt,
                    epoch: world.known[host],
                });
            }
            Action::Renew(host) => {
                let Host::Holds {
                    attempt,
                    cas,
                    epoch,
                    deadline,
                } = world.hosts[host]
                else {
                    return None;
                };
                world.renewals += 1;
                world.hosts[host] = Host::Renews {
                    attempt,
                    cas,
                    epoch,
                    deadline,
                    at: world.time,
                };
                world.send(Message::Renew {
                    host: host as u8,
                    attempt,
                    cas,
                    epoch,
                });
            }
            Action::Release(host) => {
                let Host::Holds {
                    attempt, cas, epoch, ..
                } = world.hosts[host]
                else {
                    return None;
                };
                world.hosts[host] = Host::Idle;
                world.send(Message::Delete {
                    cas,
                    epoch,
                    owner: attempt,
                });
            }
            Action::GiveUp(host) => match world.hosts[host] {
                Host::Asked { attempt, .. } => world.hosts[host] = Host::Releases { attempt, known: None },
                // It does not know its CAS any more; it trusts its lease for as long as before.
                Host::Renews {
                    attempt,
                    cas,
                    epoch,
                    deadline,
                    ..
                } => {
                    world.hosts[host] = Host::Holds {
                        attempt,
                        cas,
                        epoch,
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
                // The token tells whether the item is its own, and the reply tells the CAS in this epoch.
                let found = world.live_item().filter(|item| item.owner == attempt);
                let (cas, epoch) = match (found, known) {
                    (Some(item), _) => (item.cas, world.epoch),
                    (None, Some(known)) => known,
                    (None, None) => (0, world.epoch),
                };
                world.hosts[host] = Host::Idle;
                world.send(Message::Delete {
                    cas,
                    epoch,
                    owner: attempt,
                });
            }
            Action::Deliver(message) | Action::Lose(message) => {
                let at = world.messages.iter().position(|other| *other == message)?;
                world.messages.remove(at);
                if matches!(action, Action::Deliver(_)) {
                    self.server_receives(&mut world, message);
                    self.host_receives(&mut world, message);
                    database::receives(&self.rules, &mut world, message);
                }
            }
            Action::Stall => {
                world.stalls += 1;
                world.stalled = Some(world.time);
            }
            Action::Resume => {
                world.stalled.take()?;
            }
            Action::Restart => {
                world.restarts += 1;
                world.process += 1;
                world.epoch += 1;
                world.epoch_began = world.time;
                world.next_cas = 1;
                world.item = None;
                world.stalled = None;
                world.behind = 0;
                // A connection does not outlive its server; what came back before it ended may still be read.
                let survives = |message: &Message| match message {
                    Message::Take { .. } => false,
                    Message::Renew { .. } | Message::Delete { .. } => !self.rules.cas_bound_to_connection,
                    Message::Granted { .. }
                    | Message::Renewed { .. }
                    | Message::Write { .. }
                    | Message::Waiting { .. } => true,
                };
                world.messages.retain(survives);
            }
            Action::Evict => {
                world.evictions += 1;
                world.item = None;
                if self.rules.sentinel_of_each_size {
                    world.epoch += 1;
                    world.epoch_began = world.time;
                }
            }
            Action::Suspend(host) => {
                world.suspends += 1;
                world.asleep = Some(host);
            }
            Action::Wake => {
                world.asleep.take()?;
            }
            Action::Write(host, wish) => {
                let Host::Holds { attempt, deadline, .. } = world.hosts[host] else {
                    return None;
                };
                world.writes += 1;
                let (sent, left) = (world.time, deadline - world.time);
                world.send(Message::Write {
                    wish,
                    attempt,
                    order: world.orders[usize::from(attempt)]?,
                    sent,
                    left,
                });
            }
            Action::Start(host) => {
                world.fresh += 1;
                world.hosts[host] = Host::Idle;
                world.known[host] = 0;
                world.over[host] = 0;
                world.grace[host] = 0;
            }
        }
        world.tidy();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("a release never deletes another's lock", |_, world| {
                !world.deleted_anothers_lock
            }),
            Property::<Self>::always("fencing tokens grow", |_, world| !world.token_went_back),
            Property::<Self>::sometimes("one holds it after the other", |model, world| {
                world.held == [true; HOSTS] && world.restarts == model.bounds.restarts
            }),
            Property::<Self>::always("one holder at a time", |_, world: &World| {
                !(world.trusts(0) && world.trusts(1))
            }),
            Property::<Self>::always("the write of an older lease never comes last", |_, world| {
                !world.older_came_last
            }),
            Property::<Self>::always("no active registration is written over", |_, world| !world.overwritten),
            Property::<Self>::always("nobody writes while another trusts its lease", |_, world| {
                !world.interfered
            }),
        ]
    }
}
