//! What a memcached answers to a batch of lock commands.

#![no_main]

libfuzzer_sys::fuzz_target!(|line: &[u8]| namelock_lock::fuzz_reply(line));
