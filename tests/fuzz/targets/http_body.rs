//! The body of a registration.

#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    if let Ok(request) = namelock::http::wire::parse_register(body) {
        assert!((1..=255).contains(&request.name.len()) && (1..=255).contains(&request.owner.len()));
    }
});
