//! Chooses which of several servers has a key.
//!
//! Each server gets a weight for the key, and the heaviest has it (rendezvous hashing, Thaler and Ravishankar 1998). So
//! every host comes to the same answer from the same set of servers, in whatever order they are listed, and without
//! asking anybody; and a list with one server more or less moves only the keys that it must.
//!
//! A server that is down keeps its keys. If another one took them over, a lock that is still trusted could be granted
//! again.
//!
//! The weight is part of the contract between hosts: one that computed it in another way would lock elsewhere. It is
//! version 1, and a test pins it.

use md5::{Digest, Md5};

/// The index of the server that has `key`.
pub(super) fn choose<'a>(servers: impl ExactSizeIterator<Item = &'a str>, key: &str) -> usize {
    if servers.len() == 1 {
        return 0;
    }
    let weights = servers.enumerate().map(|(index, server)| (weight(server, key), index));
    weights.max().map_or(0, |(_, index)| index)
}

/// The first eight bytes of the MD5 of version, server and key, each on its own line; the server's name breaks a tie.
fn weight<'a>(server: &'a str, key: &str) -> (u64, &'a str) {
    let digest = Md5::digest(format!("namelock-rendezvous-1\n{server}\n{key}"));
    let first = digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (first, server)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn chosen(servers: &[&'static str], key: &str) -> &'static str {
        servers[choose(servers.iter().copied(), key)]
    }

    fn keys() -> impl Iterator<Item = String> {
        (0..3000).map(|number| format!("namelock:t:{number}"))
    }

    #[test]
    fn the_weight_is_the_one_of_version_1() {
        // printf 'namelock-rendezvous-1\na:1\nnamelock::900150983cd24fb0d6963f7d28e17f72' | md5sum | head -c 16
        assert_eq!(
            weight("a:1", "namelock::900150983cd24fb0d6963f7d28e17f72").0,
            0xc32e_5fa2_7106_1641
        );
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        for key in keys() {
            assert_eq!(
                chosen(&["a:1", "b:1", "c:1"], &key),
                chosen(&["c:1", "a:1", "b:1"], &key)
            );
        }
    }

    #[test]
    fn keys_are_shared_evenly_and_a_new_server_moves_only_its_own() {
        let mut shares = HashMap::new();
        for key in keys() {
            let before = chosen(&["a:1", "b:1", "c:1"], &key);
            *shares.entry(before).or_insert(0) += 1;
            let after = chosen(&["a:1", "b:1", "c:1", "d:1"], &key);
            assert!(after == before || after == "d:1");
        }
        assert!(
            shares.len() == 3 && shares.values().all(|share| (850..1150).contains(share)),
            "{shares:?}"
        );
    }
}
