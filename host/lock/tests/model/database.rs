//! What the names database does with a write.

use super::rules::Rules;
use super::world::{Message, Wish, World};

/// Takes a write that arrives, or does one that has waited.
pub(super) fn receives(rules: &Rules, world: &mut World, message: Message) {
    match message {
        Message::Write {
            wish,
            attempt,
            order,
            sent,
            left,
        } => {
            // The database knows how long the lease lasted when the write was sent, and when it got it.
            let waiting = Message::Waiting {
                wish,
                attempt,
                order,
                until: world.time + left,
                prompt: world.time == sent,
            };
            world.send(waiting);
        }
        Message::Waiting {
            wish,
            attempt,
            order,
            until,
            prompt,
        } => {
            let row = world.row;
            let is_late = rules.write_deadline && world.time >= until;
            let is_older = rules.fencing && order.token < row.token;
            let is_taken = rules.arbitration && row.active && wish == Wish::Save;
            let is_free = !row.active && wish == Wish::Free;
            if is_late || is_older || is_taken || is_free {
                return;
            }
            world.overwritten |= row.active && wish == Wish::Save;
            world.older_came_last |= order.grant < row.grant;
            let others = (0..world.hosts.len()).filter(|host| world.attempt(*host) != Some(attempt));
            world.interfered |= prompt && others.into_iter().any(|host| world.trusts(host));
            world.row.active = wish == Wish::Save;
            world.row.token = row.token.max(order.token);
            world.row.grant = row.grant.max(order.grant);
        }
        _ => {}
    }
}
