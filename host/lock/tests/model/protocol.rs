//! What the hosts and the server do: the steps of the model, and the properties that must hold.

use stateright::{Model, Property};

use super::rules::{Bounds, COARSE, EXCHANGE, HOSTS, LEASE, Rules};
use super::world::{Action, Host, Item, Message, World};

pub(super) struct Protocol {
    pub(super) bounds: Bounds,
    pub(super) rules: Rules,
}

impl Protocol {
    fn ttl(&self) -> u8 {
        if self.rules.ttl_has_margin {
            LEASE + COARSE + EXCHANGE
        } else {
            LEASE
        }
    }

    /// Does what the server does with a request.
    fn server_receives(&self, world: &mut World, request: Message) {
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
                    let epoch = if self.rules.epoch_in_token {
                        u16::from(world.epoch)
                    } else {
                        0
                    };
                    let token = epoch * 100 + u16::from(cas);
                    world.token_went_back |= token <= world.last_token;
                    world.last_token = token;
                    world.send(Message::Granted {
                        host,
                        attempt,
                        cas,
                        epoch: world.epoch,
                    });
                }
            }
            Message::Renew {
                host,
                attempt,
                cas,
                epoch,
            } => {
                let expires = world.server_time() + self.ttl();
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
            Message::Granted { .. } | Message::Renewed { .. } => {}
        }
    }

    /// Does what a host does with a reply. It ignores a reply to an attempt that it has given up.
    fn host_receives(&self, world: &mut World, reply: Message) {
        let (Message::Granted { host, attempt, .. } | Message::Renewed { host, attempt, .. }) = reply else {
            return;
        };
        let host = usize::from(host);
        match (world.hosts[host], reply) {
            (Host::Asked { at, attempt: mine }, Message::Granted { cas, epoch, .. }) if mine == attempt => {
                let late = world.time - at > EXCHANGE;
                let distrusted = self.rules.stalls_are_noticed && world.time < world.distrusted;
                world.hosts[host] = if late || distrusted {
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
                Message::Renewed { cas, .. },
            ) if mine == attempt => {
                let distrusted = self.rules.stalls_are_noticed && world.time < world.distrusted;
                let in_time = world.time - at <= EXCHANGE && !distrusted;
                let deadline = if in_time { at + LEASE } else { deadline };
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
            deleted_anothers_lock: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.time < self.bounds.ticks {
            actions.push(Action::Tick { clock_keeps_up: true });
            actions.push(Action::Tick { clock_keeps_up: false });
        }
        for (number, host) in world.hosts.iter().enumerate() {
            let connected = world.known[number] == world.epoch;
            if !connected && world.stalled.is_none() {
                actions.push(Action::Connect(number));
            }
            let may_ask = connected && world.time >= world.distrusted.max(world.grace[number]);
            match *host {
                Host::Idle if world.attempts < self.bounds.attempts && may_ask => actions.push(Action::Ask(number)),
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
            actions.push(Action::Resume);
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
                world.known[host] = world.epoch;
                if self.rules.restart_grace {
                    world.grace[host] = world.time + LEASE;
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
                }
            }
            Action::Stall => {
                world.stalls += 1;
                world.stalled = Some(world.time);
            }
            Action::Resume => {
                let since = world.stalled.take()?;
                // The time to live covers a shorter stall. A longer one shows in the late reply to a heartbeat, before
                // any grant.
                if world.time - since > EXCHANGE {
                    world.distrusted = world.time + COARSE + 1;
                }
            }
            Action::Restart => {
                world.restarts += 1;
                world.epoch += 1;
                world.next_cas = 1;
                world.item = None;
                world.stalled = None;
                world.behind = 0;
                // A connection does not outlive its server; what came back before it ended may still be read.
                let survives = |message: &Message| match message {
                    Message::Take { .. } => false,
                    Message::Renew { .. } | Message::Delete { .. } => !self.rules.cas_bound_to_connection,
                    Message::Granted { .. } | Message::Renewed { .. } => true,
                };
                world.messages.retain(survives);
            }
        }
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
        ]
    }
}
