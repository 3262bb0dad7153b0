//! The contract as it is written in `wit/`, for what the rest of this crate does not cover.
//!
//! The modules are named as the WIT packages are; their texts are the WIT's own. A handler does not need them.

// The texts come from WIT, where a paragraph may be indented and not every item has one.
#![allow(missing_docs, clippy::doc_lazy_continuation, clippy::doc_overindented_list_items)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "registrar",
    generate_all,
    pub_export_macro: true,
    additional_derives: [PartialEq, Eq],
});
