//! Reads what a tenant's directory holds: its `tenant.toml` and its component.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use namelock_account::{Account, Budgets};
use namelock_sandbox::{Tenant, Wasm};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::error::TenantError;
use super::id::TenantId;
use super::tokens::{TokenSection, Tokens};
use crate::admission::AdmissionLimits;
use crate::config::source::{ConfigError, Source};
use crate::config::{Limits, LimitsSection};

/// Longest `tenant.toml` that is read, in bytes.
const SETTINGS_FILE_MAX: u64 = 64 << 10;

/// What a `tenant.toml` and the defaults of the host make of a tenant.
pub(super) struct Plan {
    pub(super) tenant: Arc<Tenant>,
    /// The path of the component.
    pub(super) component: PathBuf,
    component_max: usize,
    pub(super) admission: AdmissionLimits,
    pub(super) budgets: Budgets,
    pub(super) tokens: Tokens,
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
    settings: BTreeMap<String, SettingValue>,
    limits: LimitsSection,
    tokens: Vec<TokenSection>,
}

/// A setting, which a handler always reads as text.
#[derive(Debug)]
struct SettingValue(String);

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

impl Plan {
    /// Reads the `tenant.toml` in `dir`, if there is one.
    pub(super) fn read(id: &TenantId, dir: &Path, defaults: &Limits, max: &Limits) -> Result<Self, TenantError> {
        let path = dir.join("tenant.toml");
        let source = match require_regular_file(&path) {
            Ok(()) => Source::read(&path, SETTINGS_FILE_MAX)?,
            Err(TenantError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Source::default(),
            Err(error) => return Err(error),
        };
        Self::parse(id, dir, &source, defaults, max)
    }

    /// Makes a plan of the text of a `tenant.toml`, which is empty if the tenant has none.
    fn parse(id: &TenantId, dir: &Path, source: &Source, defaults: &Limits, max: &Limits) -> Result<Self, TenantError> {
        let path = dir.join("tenant.toml");
        let location = |key: &str| format!("{}, {key}", path.display());
        let file: TenantFile = source.parse()?;
        let namespace = file.namespace.unwrap_or_else(|| id.to_string());
        // Any other namespace would be another tenant's, and the two would wait for each other.
        if !namespace.is_empty() && namespace != id.as_str() {
            let problem = format!("`{namespace}` is not allowed; leave it out for \"{id}\", or write \"\"");
            return Err(ConfigError::new(location("namespace"), problem).into());
        }
        let limits = file.limits.over(defaults);
        limits.within(max, location)?;
        let tokens =
            Tokens::new(file.tokens).map_err(|error| ConfigError::new(location("tokens"), error.to_string()))?;
        let tenant = Tenant {
            id: id.as_str().into(),
            namespace: namespace.into(),
            settings: file.settings.into_iter().map(|(key, value)| (key, value.0)).collect(),
            limits: limits.call,
            account: Arc::new(Account::new(id.as_str(), &limits.budgets)),
        };
        Ok(Self {
            tenant: Arc::new(tenant),
            component: dir.join("handler.wasm"),
            component_max: limits.component,
            admission: limits.admission,
            budgets: limits.budgets,
            tokens,
        })
    }

    /// Reads the component, up to its limit, on a thread that may block.
    pub(super) async fn read_component(self: &Arc<Self>) -> Result<Wasm, TenantError> {
        let (plan, path) = (Arc::clone(self), self.component.clone());
        let read = tokio::task::spawn_blocking(move || plan.read_component_blocking());
        read.await.unwrap_or_else(|panic| {
            let source = io::Error::other(panic);
            Err(TenantError::Read { path, source })
        })
    }

    fn read_component_blocking(&self) -> Result<Wasm, TenantError> {
        let path = &self.component;
        require_regular_file(path)?;
        let failed = |source| TenantError::Read {
            path: path.clone(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        // Allocated at once: a buffer that grows is mapped, copied and unmapped, and every call waits for that.
        let mut wasm = Vec::with_capacity(usize::try_from(length).unwrap_or(usize::MAX).min(self.component_max) + 1);
        file.take(self.component_max as u64 + 1)
            .read_to_end(&mut wasm)
            .map_err(failed)?;
        if wasm.len() > self.component_max {
            return Err(TenantError::TooLarge {
                path: path.clone(),
                max: self.component_max,
            });
        }
        Ok(Wasm::new(wasm))
    }
}

/// Refuses what is not a regular file, before it is opened.
fn require_regular_file(path: &Path) -> Result<(), TenantError> {
    let meta = fs::symlink_metadata(path).map_err(|source| TenantError::Read {
        path: path.into(),
        source,
    })?;
    if meta.is_file() {
        Ok(())
    } else {
        Err(TenantError::NotAFile(path.into()))
    }
}

/// Reads any text as a `tenant.toml`, for a fuzz target.
#[cfg(fuzzing)]
pub fn fuzz_tenant_toml(text: &str) {
    let (id, limits) = ("fuzz".parse().unwrap_or_else(|_| unreachable!()), Limits::default());
    let _ = Plan::parse(&id, Path::new("fuzz"), &Source::of(text), &limits, &limits);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::text::chain;

    /// Reads the plan of tenant `acme` from this `tenant.toml`.
    fn plan(file: &str) -> Result<Arc<Tenant>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tenant.toml");
        fs::write(&path, file).unwrap();
        let id = "acme".parse().unwrap();
        let plan = Plan::read(&id, dir.path(), &Limits::default(), &Limits::default());
        plan.map(|plan| plan.tenant)
            .map_err(|error| chain(&error).replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn a_tenant_without_settings_has_the_defaults() {
        let tenant = plan("").unwrap();
        assert_eq!((&*tenant.id, &*tenant.namespace), ("acme", "acme"));
        assert_eq!(tenant.limits.leases, namelock_sandbox::CallLimits::default().leases);
    }

    #[test]
    fn a_tenant_file_sets_namespace_settings_and_limits() {
        let file = r#"
            namespace = ""
            [settings]
            max = 3
            prefix = "r-"
            open = true
            [limits]
            cpu_time = "20ms"
        "#;
        let tenant = plan(file).unwrap();
        assert_eq!(&*tenant.namespace, "");
        let expect = [("max", "3"), ("open", "true"), ("prefix", "r-")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(tenant.settings, expect);
        assert_eq!(tenant.limits.cpu_time, Duration::from_millis(20));
    }

    #[test]
    fn a_wrong_tenant_file_says_what_and_where() {
        let check = |file: &str, expect: &str| assert_eq!(plan(file).err().unwrap(), expect, "{file}");
        check(
            r#"namespace = "other""#,
            "FILE, namespace: `other` is not allowed; leave it out for \"acme\", or write \"\"",
        );
        check(
            "[settings]\nlist = [1]",
            "FILE, line 2, settings.list: invalid type: sequence, expected a string, a whole number, true or false",
        );
        check(
            "[limits]\nmemory = \"1GB\"",
            "FILE, line 2, limits.memory: `1GB` is not a size with its unit, as in \"64KiB\" or \"64MiB\"",
        );
        check(
            "[limits]\nmemory = \"65MiB\"",
            "FILE, limits.memory: \"65MiB\" is above limits.max.memory of this host, \"64MiB\"; \
             lower the one or raise the other",
        );
        check(
            "[limits.max]\nmemory = \"1GiB\"",
            "FILE, line 1, limits.max: unknown field `max`, expected one of `component`, `calls`, `calls_waiting`, \
             `calls_wait`, `rate`, `burst`, `memory`, `cpu_time`, `wall_time`, `leases`, `host_calls`, `host_bytes`, \
             `handles`, `random_bytes`, `attributes`, `attribute_bytes`, `log_bytes`, `log_rate`, `writes`, `write_rate`",
        );
        check(
            "[[tokens]]\nname = \"ci\"\nsha256 = \"nlk_secret\"\nrights = [\"find\"]",
            "FILE, tokens: the sha256 of `ci` is not 64 hexadecimal digits; make a new token with `namelock token new`",
        );
        check(
            "name = 1",
            "FILE, line 1, name: unknown field `name`, expected one of `namespace`, `settings`, `limits`, `tokens`",
        );
    }
}
