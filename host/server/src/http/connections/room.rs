//! The room for connections of one listener, shared among the addresses that they come from.
//!
//! The share of an address adapts as that of a tenant does in `admission::share`: *an address may hold no more
//! connections than are free*, so one alone holds half of them at most, and there is room for the next one. Where there
//! is none, the connection that has been idle for longest makes it: one of the same address, if that has reached its
//! share.
//!
//! To close one and to serve another costs the host as much as a request, and nobody is charged for it. So an address that has
//! reached its share has only so many of its connections replaced in a second; a further one is refused at once.
//!
//! IPv6 addresses count by their first 64 bits, because whoever has one has all of those.
//!
//! Where there are thousands of connections, the longest idle one is searched for among a few that are picked at random, as
//! Redis does for its keys ("approximated LRU"): whoever opens connections without an end makes the host search for each.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use indexmap::{IndexMap, IndexSet};
use namelock_account::Bucket;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::activity::Activity;

/// How many connections are looked at to find one that has been idle for long.
const LOOKED_AT: usize = 16;

/// The room of one listener.
#[derive(Debug)]
pub(super) struct Room {
    max: usize,
    /// How many connections of one address make room for its next ones in a second.
    replaced: u32,
    epoch: Instant,
    open: Mutex<Open>,
    /// Told when a connection ends or becomes idle.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: IndexMap<u64, (IpAddr, Arc<Activity>)>,
    of_address: HashMap<IpAddr, Address>,
}

/// The connections of one address.
#[derive(Debug)]
struct Address {
    ids: IndexSet<u64>,
    replaced: Bucket,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    room: Arc<Room>,
    id: u64,
    /// What the connection is doing.
    pub(super) activity: Arc<Activity>,
}

/// What is to become of a new connection.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is served.
    Served(Slot),
    /// It waits until somebody else ends or is idle.
    Waits,
    /// Its address has all that it may have, and none of them is idle, or too many were replaced just now.
    Refused,
}

impl Room {
    /// Room for `max` connections, of which one address has at most `replaced` closed in a second to make room for its own.
    pub(super) fn new(max: usize, replaced: u32) -> Arc<Self> {
        Arc::new(Self {
            max,
            replaced,
            epoch: Instant::now(),
            open: Mutex::default(),
            changed: Arc::default(),
        })
    }

    /// Decides on a new connection from this address, and makes room for it where it can.
    // Keeps P6: who opens connections and is silent takes no room from others.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Verdict {
        let address = network(address);
        let mut open = self.open.lock();
        let own = open.of_address.get(&address).map_or(0, |of| of.ids.len());
        let free = self.max.saturating_sub(open.connections.len());
        if own > 0 && own >= free {
            if !open.may_replace(address) || !open.close_idle(Some(address)) {
                return Verdict::Refused;
            }
        } else if free == 0 && !open.close_idle(None) {
            return Verdict::Waits;
        }
        let activity = Arc::new(Activity::new(self.epoch, Arc::clone(&self.changed)));
        Verdict::Served(Slot {
            id: open.insert(address, Arc::clone(&activity), self.replaced),
            room: Arc::clone(self),
            activity,
        })
    }

    /// Waits until a connection has ended or has become idle since this was waited for last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Open {
    fn insert(&mut self, address: IpAddr, activity: Arc<Activity>, replaced: u32) -> u64 {
        self.next += 1;
        self.connections.insert(self.next, (address, activity));
        let new = || Address {
            ids: IndexSet::new(),
            replaced: Bucket::new(replaced, replaced, Instant::now()),
        };
        self.of_address.entry(address).or_insert_with(new).ids.insert(self.next);
        self.next
    }

    fn may_replace(&mut self, address: IpAddr) -> bool {
        let of = self.of_address.get_mut(&address);
        of.is_some_and(|of| of.replaced.take(Instant::now()).is_ok())
    }

    fn remove(&mut self, id: u64) {
        let Some((address, _)) = self.connections.swap_remove(&id) else {
            return;
        };
        if let Some(of) = self.of_address.get_mut(&address) {
            of.ids.swap_remove(&id);
            if of.ids.is_empty() {
                self.of_address.remove(&address);
            }
        }
    }

    /// Closes the connection that has been idle for longest, of those from this address or of all; its place is free at once.
    fn close_idle(&mut self, address: Option<IpAddr>) -> bool {
        loop {
            let idle = self.look_at(address).into_iter().filter_map(|id| {
                let (_, activity) = self.connections.get(&id)?;
                Some((activity.idle_since()?, id))
            });
            let Some((since, id)) = idle.min() else {
                return false;
            };
            // It may have begun a request meanwhile.
            if self
                .connections
                .get(&id)
                .is_some_and(|(_, activity)| activity.close(since))
            {
                self.remove(id);
                return true;
            }
        }
    }

    /// All connections of this address, or all, if they are few; otherwise as many as are looked at.
    fn look_at(&self, address: Option<IpAddr>) -> Vec<u64> {
        let of_address = address.map(|address| Some(&self.of_address.get(&address)?.ids));
        let id_at = |index: usize| match of_address {
            Some(ids) => ids?.get_index(index).copied(),
            None => self.connections.get_index(index).map(|(id, _)| *id),
        };
        let count = of_address.map_or(self.connections.len(), |ids| ids.map_or(0, IndexSet::len));
        if count <= LOOKED_AT {
            return (0..count).filter_map(id_at).collect();
        }
        (0..LOOKED_AT)
            .filter_map(|_| id_at(rand::random_range(0..count)))
            .collect()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.room.open.lock().remove(self.id);
        self.room.changed.notify_one();
    }
}

/// Whom an address belongs to.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Enters as often as it is served without closing others, at most `most` times.
    fn fill(room: &Arc<Room>, last: u8, most: usize) -> Vec<Slot> {
        let mut slots = Vec::new();
        while slots.len() < most {
            match room.enter(address(last)) {
                Verdict::Served(slot) => {
                    assert!(slot.activity.begin(true));
                    slots.push(slot);
                }
                Verdict::Waits | Verdict::Refused => break,
            }
        }
        slots
    }

    // Shows P6: one address leaves room for others, however many connections it opens.
    #[test]
    fn an_address_holds_no_more_than_are_free() {
        let room = Room::new(200, 1000);
        let one = fill(&room, 1, 1000);
        let two = fill(&room, 2, 1000);
        let three = fill(&room, 3, 1000);
        assert_eq!((one.len(), two.len(), three.len()), (100, 50, 25));
        drop(two);
        assert_eq!(fill(&room, 4, 1000).len(), 38);
    }

    #[test]
    fn at_its_share_an_address_closes_its_own_longest_idle() {
        let room = Room::new(4, 1000);
        let Verdict::Served(other) = room.enter(address(9)) else {
            panic!("there is room")
        };
        let busy = fill(&room, 1, 1);
        let Verdict::Served(idle) = room.enter(address(1)) else {
            panic!("there is room")
        };
        let Verdict::Served(next) = room.enter(address(1)) else {
            panic!("the idle one makes room")
        };
        assert_eq!(idle.activity.idle_since(), None);
        assert!(other.activity.idle_since().is_some(), "nobody else's is closed");
        assert!(next.activity.begin(true));
        assert!(matches!(room.enter(address(1)), Verdict::Refused), "none is idle now");
        // The place of the one that was closed was given away already.
        drop(idle);
        assert_eq!(room.open.lock().connections.len(), 3);
        drop((busy, next, other));
        let open = room.open.lock();
        assert!(open.connections.is_empty() && open.of_address.is_empty());
    }

    // Shows P6: a search is as short among thousands, and finds one of those that have been idle for long.
    #[test]
    fn among_many_one_that_is_idle_for_long_makes_room() {
        let room = Room::new(2000, 1000);
        let mut slots = fill(&room, 1, 1000);
        assert_eq!(slots.len(), 1000);
        assert!(matches!(room.enter(address(1)), Verdict::Refused), "none is idle");
        slots.iter().for_each(|slot| slot.activity.end());
        let looked_at = room.open.lock().look_at(Some(address(1)));
        assert_eq!(looked_at.len(), LOOKED_AT);
        let Verdict::Served(slot) = room.enter(address(1)) else {
            panic!("an idle one makes room")
        };
        slots.push(slot);
        let closed = slots.iter().filter(|slot| slot.activity.idle_since().is_none());
        assert_eq!(closed.count(), 1);
        assert_eq!(room.open.lock().connections.len(), 1000);
    }

    // Shows P6: who opens connections without an end makes the host replace only so many.
    #[test]
    fn an_address_at_its_share_has_no_more_replaced_than_it_may() {
        let room = Room::new(10, 3);
        let begin = Instant::now();
        let mut slots = Vec::new();
        let mut refused = 0;
        for _ in 0..100 {
            match room.enter(address(1)) {
                Verdict::Served(slot) => slots.push(slot),
                Verdict::Refused => refused += 1,
                Verdict::Waits => panic!("there is room"),
            }
        }
        let most = 5 + 3 + 3 * (begin.elapsed().as_secs() as usize + 1);
        assert!((8..=most).contains(&slots.len()), "{} of {most}", slots.len());
        assert_eq!(refused + slots.len(), 100);
        assert!(
            matches!(room.enter(address(2)), Verdict::Served(_)),
            "others are not refused"
        );
    }

    #[test]
    fn where_all_is_taken_the_longest_idle_makes_room() {
        let room = Room::new(2, 1000);
        let (one, two) = (fill(&room, 1, 1), fill(&room, 2, 1));
        assert!(matches!(room.enter(address(3)), Verdict::Waits));
        two[0].activity.end();
        std::thread::sleep(std::time::Duration::from_millis(2));
        one[0].activity.end();
        assert!(matches!(room.enter(address(3)), Verdict::Served(_)));
        assert!(one[0].activity.idle_since().is_some());
        assert!(!two[0].activity.begin(true), "it was idle for longer");
    }

    #[test]
    fn an_ipv6_address_counts_with_its_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
