//! A registration that is there before a call.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A registration, as a scenario writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) owner: String,
    /// None: without end.
    pub(super) lifetime_ms: Option<u64>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
}
