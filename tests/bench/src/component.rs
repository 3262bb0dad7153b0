//! The components that the Makefile builds of the examples of the SDKs.

use std::path::PathBuf;

/// Where the one of this name is, or would be.
pub(crate) fn component(name: &str) -> PathBuf {
    let file = format!("../../target/components/{name}.wasm");
    [env!("CARGO_MANIFEST_DIR"), &file].iter().collect()
}
