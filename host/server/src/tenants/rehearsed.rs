//! The section `canary.request` of a `tenant.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use namelock_sandbox::Request;
use serde::Deserialize;

use crate::error::{ErrorKind, Outcome};

/// A request that a new component must answer as expected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rehearsed {
    name: String,
    owner: String,
    lifetime_ms: Option<u64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// `ok`, or a code of the API.
    #[serde(default = "ok")]
    pub(super) expect: String,
}

fn ok() -> String {
    Outcome::Ok.label().to_owned()
}

impl Rehearsed {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        let codes = ErrorKind::ALL.into_iter().map(ErrorKind::label);
        let known = codes.chain([Outcome::Ok.label()]).any(|code| code == self.expect);
        let problem = || format!("`{}` is no code; write \"ok\", or one of docs/errors.md", self.expect);
        (!known).then(problem)
    }

    pub(super) fn request(&self) -> Request {
        Request {
            name: self.name.clone(),
            owner: self.owner.clone(),
            lifetime: self.lifetime_ms.map(Duration::from_millis),
            attributes: self.attributes.clone().into_iter().collect(),
        }
    }
}
