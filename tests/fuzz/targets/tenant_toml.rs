//! A tenant's file.

#![no_main]

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    if let Ok(text) = std::str::from_utf8(file) {
        namelock::tenants::fuzz_tenant_toml(text);
    }
});
