//! All settings with their defaults, as documents and messages tell of them.

use super::limits::{Limits, TENANT};
use super::setting::{Entry, Flag};
use super::settings::HOST;
use super::types::Config;
use super::units::Value;

/// A setting with its default, for documents.
#[derive(Debug)]
pub struct Described {
    /// What is declared about it.
    pub entry: Entry,
    /// Its default; none: it is absent.
    pub default: Option<Value>,
    /// The flag and variable that win over the file.
    pub flag: Option<Flag>,
    /// Whether a `tenant.toml` may set it.
    pub tenant: bool,
}

/// Every setting, with those of tenants first.
pub fn all() -> Vec<Described> {
    let (mut limits, mut config) = (Limits::default(), Config::default());
    let tenant = TENANT.iter().map(|setting| Described {
        entry: setting.entry,
        default: setting.value(&mut limits),
        flag: None,
        tenant: true,
    });
    let mut all: Vec<_> = tenant.collect();
    all.extend(HOST.iter().map(|setting| Described {
        entry: setting.entry,
        default: setting.value(&mut config),
        flag: setting.flag,
        tenant: false,
    }));
    all
}
