//! Reads what a tenant's directory holds: its `tenant.toml` and its component.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use namelock_account::{Account, Budgets};
use namelock_oci::Reference;
use namelock_sandbox::{Digest, Tenant, Wasm};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::canary::{Canary, CanarySection};
use super::error::TenantError;
use super::files::{open_if_there, open_regular};
use super::id::TenantId;
use crate::admission::AdmissionLimits;
use crate::config::source::{ConfigError, Source};
use crate::config::{Config, Limits, LimitsSection};
use crate::text::one_line;
use crate::tokens::right::Right;
use crate::tokens::{TokenSection, Tokens};

/// Longest `tenant.toml` that is read, in bytes.
const SETTINGS_FILE_MAX: u64 = 64 << 10;

/// What the host's configuration says about every `tenant.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What a tenant may use unless its file says otherwise.
    pub defaults: &'a Limits,
    /// What no file may go beyond.
    pub max: &'a Limits,
    /// The longest that a file may hold names for their last owners.
    pub hold_max: Duration,
    /// The tenants that may use the empty namespace.
    pub shared_namespace: &'a [TenantId],
}

/// What a `tenant.toml` and the defaults of the host make of a tenant.
pub(crate) struct Plan {
    pub(crate) tenant: Arc<Tenant>,
    /// The path of the component; in the database of a fleet it is one for messages alone.
    pub(crate) component: PathBuf,
    /// Where it is, if it is in a registry and not in the directory.
    pub(crate) reference: Option<Reference>,
    /// Which one it is, if it is in the database of a fleet and not in a file.
    pub(super) stored: Option<Digest>,
    pub(crate) component_max: usize,
    /// Bytes of what the component may be compiled to.
    pub(crate) artifact_max: usize,
    pub(crate) admission: AdmissionLimits,
    pub(crate) budgets: Budgets,
    pub(crate) log_followers: usize,
    pub(crate) tokens: Tokens<Right>,
    /// Which of its calls are recorded; none: none of them.
    pub(crate) record: Option<Record>,
    /// The digest that the component must have.
    pub(super) sha256: Option<Digest>,
    /// How a new version comes into use.
    pub(crate) canary: Canary,
}

/// Which calls of a tenant are recorded, if the host keeps recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// Those that fail because of its handler.
    Failures,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

/// The file `tenant.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TenantFile {
    namespace: Option<String>,
    record: Option<Record>,
    component: Option<String>,
    sha256: Option<String>,
    canary: CanarySection,
    names: NamesSection,
    settings: BTreeMap<String, SettingValue>,
    limits: LimitsSection,
    tokens: Vec<TokenSection<Right>>,
}

/// The section `names` of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NamesSection {
    /// For how long after a registration has ended or was freed only its last owner can take the name.
    hold_ms: u64,
}

/// A setting, which a handler always reads as text.
#[derive(Debug)]
pub(crate) struct SettingValue(String);

impl SettingValue {
    /// It as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SettingValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SettingVisitor)
    }
}

struct SettingVisitor;

impl Visitor<'_> for SettingVisitor {
    type Value = SettingValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a whole number, true or false")
    }

    fn visit_str<E>(self, value: &str) -> Result<SettingValue, E> {
        Ok(SettingValue(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<SettingValue, E> {
        Ok(SettingValue(value.to_string()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<SettingValue, E> {
        Ok(SettingValue(value.to_string()))
    }
}

impl<'a> Rules<'a> {
    /// Those of a host.
    pub fn of(config: &'a Config) -> Self {
        Self {
            defaults: &config.limits,
            max: &config.limits_max,
            hold_max: config.names.hold_max,
            shared_namespace: &config.shared_namespace,
        }
    }
}

impl Plan {
    /// Reads the `tenant.toml` in `dir`, if there is one.
    pub(crate) fn read(id: &TenantId, dir: &Path, rules: &Rules<'_>) -> Result<Self, TenantError> {
        let path = dir.join("tenant.toml");
        let source = match open_if_there(&path)? {
            Some(file) => Source::read_from(file, &path, SETTINGS_FILE_MAX)?,
            None => Source::default(),
        };
        Self::parse(id, dir, &source, rules)
    }

    /// Makes a plan of the text of a `tenant.toml`, which is empty if the tenant has none. An error has everything that
    /// is wrong.
    pub(crate) fn parse(id: &TenantId, dir: &Path, source: &Source, rules: &Rules<'_>) -> Result<Self, TenantError> {
        let path = dir.join("tenant.toml");
        let location = |key: &str| format!("{}, {key}", path.display());
        let (file, mut wrong) = source.parse_all::<TenantFile>();
        let file = file.unwrap_or_default();
        let namespace = file.namespace.unwrap_or_else(|| id.to_string());
        if let Some(problem) = wrong_namespace(id, &namespace, rules.shared_namespace) {
            wrong.push(ConfigError::new(location("namespace"), problem));
        }
        let limits = file.limits.over(rules.defaults);
        wrong.extend(limits.beyond(rules.max, location));
        let hold = Duration::from_millis(file.names.hold_ms);
        if hold > rules.hold_max {
            let problem = format!(
                "{} is above names.hold_max of this host, {}; lower the one or raise the other",
                file.names.hold_ms,
                rules.hold_max.as_millis()
            );
            wrong.push(ConfigError::new(location("names.hold_ms"), problem));
        }
        let tokens = Tokens::new(file.tokens).unwrap_or_else(|errors| {
            let errors = errors
                .into_iter()
                .map(|error| ConfigError::new(location("tokens"), error.to_string()));
            wrong.extend(errors);
            Tokens::default()
        });
        let reference = file.component.map(|text| {
            text.parse().map_err(|error| {
                let problem = format!("`{}`: {error}", one_line(&text, 300));
                ConfigError::new(location("component"), problem)
            })
        });
        let reference = reference.transpose().unwrap_or_else(|error| {
            wrong.push(error);
            None
        });
        let sha256 = file.sha256.map(|text| {
            text.parse().map_err(|error| {
                let problem = format!("`{}`: {error}; `sha256sum handler.wasm` prints it", one_line(&text, 80));
                ConfigError::new(location("sha256"), problem)
            })
        });
        let sha256 = sha256.transpose().unwrap_or_else(|error| {
            wrong.push(error);
            None
        });
        let canary = file.canary.checked(location).unwrap_or_else(|errors| {
            wrong.extend(errors);
            Canary::default()
        });
        if !wrong.is_empty() {
            return Err(TenantError::Config(wrong));
        }
        let tenant = Tenant {
            id: id.as_str().into(),
            namespace: namespace.into(),
            hold,
            settings: file.settings.into_iter().map(|(key, value)| (key, value.0)).collect(),
            limits: limits.call,
            account: Arc::new(Account::new(id.as_str(), &limits.budgets)),
            feed: Arc::default(),
        };
        Ok(Self {
            tenant: Arc::new(tenant),
            component: dir.join("handler.wasm"),
            reference,
            stored: None,
            component_max: limits.component,
            artifact_max: limits.artifact,
            admission: limits.admission,
            budgets: limits.budgets,
            log_followers: limits.log_followers,
            tokens,
            record: file.record,
            sha256,
            canary,
        })
    }

    /// Makes it that of a host on which nobody but its author calls: with these settings instead of those that it has, key by
    /// key, for callers without a token, who may come as fast as they like.
    pub(crate) fn for_author<'a>(&mut self, settings: impl Iterator<Item = (&'a str, &'a str)>) {
        let tenant = Arc::make_mut(&mut self.tenant);
        let mut all: BTreeMap<_, _> = tenant.settings.get_all().into_iter().collect();
        all.extend(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
        tenant.settings = all.into_iter().collect();
        self.tokens = Tokens::default();
        (self.admission.rate, self.admission.burst) = (u32::MAX, u32::MAX);
    }

    /// Where the component is, for messages.
    pub(crate) fn place(&self) -> PathBuf {
        let of_registry = self
            .reference
            .as_ref()
            .map(|reference| PathBuf::from(reference.to_string()));
        of_registry.unwrap_or_else(|| self.component.clone())
    }

    /// Refuses a component of the directory that is not the one that the file names.
    pub(super) fn check_digest(&self, found: Digest) -> Result<(), TenantError> {
        match self.sha256 {
            Some(pinned) if pinned != found => Err(TenantError::Pinned {
                path: self.place(),
                found,
                pinned,
            }),
            _ => Ok(()),
        }
    }

    /// Reads the component, up to its limit, on a thread that may block.
    pub(crate) async fn read_component(self: &Arc<Self>) -> Result<Wasm, TenantError> {
        let (plan, path) = (Arc::clone(self), self.component.clone());
        let read = tokio::task::spawn_blocking(move || plan.read_component_blocking());
        read.await.unwrap_or_else(|panic| {
            let source = io::Error::other(panic);
            Err(TenantError::Read { path, source })
        })
    }

    fn read_component_blocking(&self) -> Result<Wasm, TenantError> {
        let path = &self.component;
        let failed = |source| TenantError::Read {
            path: path.clone(),
            source,
        };
        let file = open_regular(path)?;
        let length = file.metadata().map_err(failed)?.len();
        // Allocated at once: a buffer that grows is mapped, copied and unmapped, and every call waits for that.
        let mut wasm = Vec::with_capacity(usize::try_from(length).unwrap_or(usize::MAX).min(self.component_max) + 1);
        file.take(self.component_max as u64 + 1)
            .read_to_end(&mut wasm)
            .map_err(failed)?;
        let wasm = Wasm::new(wasm);
        self.check_length(&wasm)?;
        Ok(wasm)
    }

    /// Refuses a component that is too long.
    pub(super) fn check_length(&self, wasm: &Wasm) -> Result<(), TenantError> {
        if wasm.bytes() > self.component_max {
            return Err(TenantError::TooLarge {
                path: self.component.clone(),
                max: self.component_max,
            });
        }
        Ok(())
    }
}

/// What is wrong with a namespace, and how to fix it.
fn wrong_namespace(id: &TenantId, namespace: &str, shared: &[TenantId]) -> Option<String> {
    // Any other namespace would be another tenant's, and the two would wait for each other. The empty one is shared: whoever
    // uses it can hold the locks of others, so it is given by the operator and not taken.
    if namespace == id.as_str() || (namespace.is_empty() && shared.contains(id)) {
        return None;
    }
    Some(if namespace.is_empty() {
        format!(
            "\"\" is for tenants to which the host gives it; leave it out for \"{id}\", or add \"{id}\" to \
             lock.shared_namespace in the host's configuration"
        )
    } else {
        format!("`{namespace}` is not allowed; leave it out for \"{id}\"")
    })
}

/// Reads any text as a `tenant.toml`, for a fuzz target.
#[cfg(fuzzing)]
pub fn fuzz_tenant_toml(text: &str) {
    let (id, limits) = ("fuzz".parse().unwrap_or_else(|_| unreachable!()), Limits::default());
    let rules = Rules {
        defaults: &limits,
        max: &limits,
        hold_max: Duration::ZERO,
        shared_namespace: &[],
    };
    let _ = Plan::parse(&id, Path::new("fuzz"), &Source::of(text), &rules);
}

#[cfg(test)]
mod tests;
