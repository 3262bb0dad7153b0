//! The contract as written in `wit/`, for what the rest of this crate does not cover.
//!
//! The modules are named after the WIT packages, and their docs are those of the WIT files. A handler does not need
//! them.

// The docs come from WIT, where a paragraph may be indented and not every item has docs.
#![allow(missing_docs, clippy::doc_lazy_continuation, clippy::doc_overindented_list_items)]

wit_bindgen::generate!({
    path: "wit",
    world: "registrar",
    generate_all,
    pub_export_macro: true,
    additional_derives: [PartialEq, Eq],
    // It borrows a lease, and no two leases are compared.
    additional_derives_ignore: ["write"],
});

/// What a component that lets registrations be changed exports beside
/// [`handler`](exports::namelock::registration::handler).
pub mod updating {
    wit_bindgen::generate!({
        path: "wit",
        world: "updates-alone",
        pub_export_macro: true,
        default_bindings_module: "namelock_guest::bindings::updating",
        with: {
            "namelock:registration/names@0.1.1": super::namelock::registration::names,
            "namelock:registration/locks@0.1.1": super::namelock::registration::locks,
        },
        additional_derives: [PartialEq, Eq],
    });
}
