//! The directory of tenants, and who of them can be served.
//!
//! The directory is read at the start and again at every SIGHUP ([`Tenants::read`]). One tenant never stops another: each is loaded
//! aside, and swapped in when it is good. A bad one leaves in place what was good, and says why in the log and in the answer of
//! `/tenants`; one that was never good stays in the table with the reason, so that its callers hear `tenant_unavailable` and not
//! `unknown_tenant`. One that is gone is unknown. Calls under way keep what they began with.
//!
//! A component that the compiler has refused is not compiled again before it changes: a bomb costs its time once. A good one that
//! many tenants bring is compiled once.
//!
//! Components are read one after another, each into memory of its own length, and what waits for the compiler holds none: a
//! directory full of long ones, read at a SIGHUP, would otherwise take the processors and the memory of those who are served.

pub mod tokens;

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use namelock_sandbox::{Digest, Handler, LoadError, Sandbox, Tenant, Wasm};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::admission::{Admission, AdmissionLimits};
use crate::config::{Limits, LimitsSection};
use crate::error::{chain, one_line};
use crate::source::{ConfigError, Source};
use crate::tenants::tokens::{TokenSection, Tokens};

/// Longest `tenant.toml` that is read, in bytes.
const SETTINGS_FILE_MAX: u64 = 64 << 10;

/// Longest reason for a refusal that is kept, in bytes.
const REASON_MAX: usize = 4096;

/// The most imports that a caller is told of.
const IMPORTS_TOLD_MAX: usize = 8;

/// The id of a tenant: `[a-z0-9][a-z0-9-]{0,62}`.
///
/// It is part of a path, of a key and of a log field, so nothing that could mean something there is let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantId(Arc<str>);

/// The text is not the id of a tenant.
#[derive(Debug, thiserror::Error)]
#[error("a tenant's id is 1 to 63 of a-z, 0-9 and -, and does not start with -")]
pub struct InvalidTenantId;

impl FromStr for TenantId {
    type Err = InvalidTenantId;

    fn from_str(text: &str) -> Result<Self, InvalidTenantId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=63).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed);
        valid.then(|| Self(text.into())).ok_or(InvalidTenantId)
    }
}

impl TenantId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a tenant cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Its `tenant.toml` is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What should be a file is a link, a directory or a device; reading it could hang or lead elsewhere.
    #[error("{0} is not a regular file; put a file there")]
    NotAFile(PathBuf),
    /// The component is longer than it may be.
    #[error("{path} is longer than {max} bytes; make it smaller or raise limits.component")]
    TooLarge {
        /// The component.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// The sandbox refuses the component.
    #[error("cannot load {path}")]
    Load {
        /// The component.
        path: PathBuf,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// Anybody on the network could call it.
    #[error(
        "{0} has no tokens, and others can reach this host; make one with `namelock token new`, or start with --open"
    )]
    Open(PathBuf),
}

impl TenantError {
    /// What callers are told: about the component, and nothing about the host.
    fn told(&self) -> String {
        match self {
            Self::Config(_) => "its settings are not valid".into(),
            Self::Open(_) => "it has no tokens".into(),
            Self::Read { .. } | Self::NotAFile(_) => "its component cannot be read".into(),
            Self::TooLarge { max, .. } => format!("its component is longer than {max} bytes"),
            Self::Load { source, .. } => match source {
                LoadError::Compile(_) => "its component is not valid".into(),
                LoadError::TooMuch { limit, most } => {
                    let what = limit.strip_prefix("compiler.").unwrap_or(limit);
                    format!("compiling its component takes more than {most} ({what})")
                }
                LoadError::Crashed { .. } => "the compiler breaks down over its component".into(),
                LoadError::Compiler(_) => "its component could not be compiled now".into(),
                LoadError::NotGranted(imports) => {
                    let told: Vec<_> = imports.iter().take(IMPORTS_TOLD_MAX).map(String::as_str).collect();
                    let more = if imports.len() > IMPORTS_TOLD_MAX { ", …" } else { "" };
                    format!("its component imports what is not granted: {}{more}", told.join(", "))
                }
                LoadError::World(_) => "its component does not fit the world of a handler".into(),
            },
        }
    }
}

/// A tenant whose directory was found, and whose component is not loaded yet.
#[derive(Debug)]
pub struct Found {
    id: TenantId,
    plan: Result<Plan, TenantError>,
}

/// What `tenant.toml` makes of the defaults.
struct Plan {
    tenant: Arc<Tenant>,
    component: PathBuf,
    component_max: usize,
    admission: AdmissionLimits,
    tokens: Tokens,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

/// A tenant that can be served.
pub struct Ready {
    /// Who it is and what it may use.
    pub tenant: Arc<Tenant>,
    /// Its compiled component.
    pub handler: Handler,
    /// Which component that is.
    digest: Digest,
    /// What it uses of the host, and how much it may. A tenant that is read again keeps the one that it had
    /// ([`Admission::in_place_of`]): a new one would forget the calls that run.
    pub admission: Arc<Admission>,
    /// Who may call it.
    pub tokens: Tokens,
}

/// Why what stands in a tenant's directory is not served.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What callers are told.
    pub told: String,
    /// The chain of causes, for the log.
    pub reason: String,
    /// The component that would be refused again.
    digest: Option<Digest>,
}

/// One tenant in the table.
#[derive(Default)]
struct Slot {
    serving: Option<Arc<Ready>>,
    refused: Option<Refusal>,
}

/// What a tenant's state is, for an operator.
#[derive(Debug, Serialize)]
pub struct Status {
    tenant: String,
    /// The SHA-256 of the component that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    /// Why what stands in the directory is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// All tenants of this host.
pub struct Tenants {
    sandbox: Sandbox,
    slots: RwLock<HashMap<TenantId, Slot>>,
    reading: Semaphore,
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

/// Finds the tenants of `dir`; what is there and is not a tenant's directory is warned of and left alone.
pub fn find(dir: &Path, defaults: &Limits, max: &Limits) -> Result<Vec<Found>, ConfigError> {
    let failed = |error: io::Error| {
        let problem = format!("cannot read the directory of tenants: {error}; create it or pass --tenants DIR");
        ConfigError::new(dir.display().to_string(), problem)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| TenantId::from_str(name).ok());
        // The type is that of the entry itself: a link is not followed, because it may lead out of the directory.
        match (id, entry.file_type().map_err(failed)?.is_dir()) {
            (Some(id), true) => found.push(Found {
                plan: Plan::read(&id, &path, defaults, max),
                id,
            }),
            (Some(_), false) => {
                tracing::warn!(path = %path.display(), "skipped: a tenant is a directory, not a file or a link")
            }
            (None, _) => tracing::warn!(path = %path.display(), "skipped: {InvalidTenantId}"),
        }
    }
    if found.is_empty() {
        tracing::warn!(dir = %dir.display(), "no tenants: every call will answer unknown_tenant");
    }
    found.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    Ok(found)
}

/// The first tenant that anybody may call.
pub fn first_open(found: &[Found]) -> Option<&TenantId> {
    let open = |found: &&Found| found.plan.as_ref().is_ok_and(|plan| plan.tokens.is_open());
    found.iter().find(open).map(|found| &found.id)
}

impl Plan {
    fn read(id: &TenantId, dir: &Path, defaults: &Limits, max: &Limits) -> Result<Self, TenantError> {
        let path = dir.join("tenant.toml");
        let source = match regular_file(&path) {
            Ok(()) => Source::read(&path, SETTINGS_FILE_MAX)?,
            Err(TenantError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Source::default(),
            Err(error) => return Err(error),
        };
        Self::parse(id, dir, &source, defaults, max)
    }

    /// Makes a plan of the text of a `tenant.toml`, which is empty where there is none.
    fn parse(id: &TenantId, dir: &Path, source: &Source, defaults: &Limits, max: &Limits) -> Result<Self, TenantError> {
        let path = dir.join("tenant.toml");
        let file: TenantFile = source.parse()?;
        let namespace = file.namespace.unwrap_or_else(|| id.to_string());
        if !namespace.is_empty() && namespace != id.as_str() {
            // Any other namespace would be somebody else's: two tenants would wait for each other.
            let problem = format!("`{namespace}` is not allowed; leave it out for \"{id}\", or write \"\"");
            return Err(ConfigError::new(format!("{}, namespace", path.display()), problem).into());
        }
        let place = |key: &str| format!("{}, {key}", path.display());
        let limits = file.limits.over(defaults);
        limits.within(max, place)?;
        let tokens = Tokens::new(file.tokens).map_err(|error| ConfigError::new(place("tokens"), error.to_string()))?;
        let tenant = Tenant {
            id: id.as_str().into(),
            namespace: namespace.into(),
            settings: file.settings.into_iter().map(|(key, value)| (key, value.0)).collect(),
            limits: limits.call,
        };
        Ok(Self {
            tenant: Arc::new(tenant),
            component: dir.join("handler.wasm"),
            component_max: limits.component,
            admission: limits.admission,
            tokens,
        })
    }

    /// Reads the component; the file is no longer than it may be.
    fn read_component(&self) -> Result<Wasm, TenantError> {
        let path = &self.component;
        regular_file(path)?;
        let failed = |source| TenantError::Read {
            path: path.clone(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        // Room for all of it at once: memory that grows is mapped, copied and unmapped, and every call waits for that.
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

/// Reads the component of a plan where that may block.
async fn read_component(plan: &Arc<Plan>) -> Result<Wasm, TenantError> {
    let (plan, path) = (Arc::clone(plan), plan.component.clone());
    let read = tokio::task::spawn_blocking(move || plan.read_component());
    read.await.unwrap_or_else(|panic| {
        let source = io::Error::other(panic);
        Err(TenantError::Read { path, source })
    })
}

/// Reads any text as a `tenant.toml`, for a fuzz target.
#[cfg(fuzzing)]
pub fn fuzz_tenant_toml(text: &str) {
    let (id, limits) = (TenantId("fuzz".into()), Limits::default());
    let _ = Plan::parse(&id, Path::new("fuzz"), &Source::of(text), &limits, &limits);
}

/// Refuses what is not a file, before it is opened.
fn regular_file(path: &Path) -> Result<(), TenantError> {
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

impl Tenants {
    /// No tenants yet.
    pub fn new(sandbox: Sandbox) -> Self {
        Self {
            sandbox,
            slots: RwLock::default(),
            reading: Semaphore::new(1),
        }
    }

    /// Makes the table what was found: each tenant on its own, as soon as it is good.
    pub async fn read(&self, found: Vec<Found>) {
        self.change(|slots| {
            slots.retain(|id, _| {
                let stays = found.iter().any(|found| found.id == *id);
                if !stays {
                    tracing::info!(tenant = %id, "tenant removed");
                }
                stays
            });
            for Found { id, .. } in &found {
                slots.entry(id.clone()).or_insert_with(|| Slot {
                    serving: None,
                    refused: Some(Refusal::not_yet()),
                });
            }
        });
        let mut all: FuturesUnordered<_> = found.into_iter().map(|found| self.read_one(found)).collect();
        while let Some(()) = all.next().await {}
    }

    async fn read_one(&self, Found { id, plan }: Found) {
        let (before, refused) = self.look(&id);
        let loaded = match plan {
            Ok(plan) => self.load(plan, before.as_deref(), refused).await,
            Err(error) => Err(Refusal::of(&error, None)),
        };
        let slot = match loaded {
            Ok(mut ready) => {
                if let Some(before) = &before {
                    ready.admission = ready.admission.in_place_of(&before.admission);
                }
                tracing::info!(tenant = %id, component = %ready.digest, "tenant loaded");
                Slot {
                    serving: Some(Arc::new(ready)),
                    refused: None,
                }
            }
            Err(refusal) => {
                let served = if before.is_some() {
                    "it is served as it was"
                } else {
                    "it cannot be served"
                };
                tracing::error!(tenant = %id, error = %refusal.reason, "tenant refused; {served}");
                Slot {
                    serving: before,
                    refused: Some(refusal),
                }
            }
        };
        self.change(|slots| slots.insert(id, slot));
    }

    /// Loads what stands in a tenant's directory, unless it is what is served or what was refused.
    async fn load(&self, plan: Plan, before: Option<&Ready>, refused: Option<Refusal>) -> Result<Ready, Refusal> {
        let plan = Arc::new(plan);
        let (mut digest, known) = self.known(&plan, before, refused).await?;
        let handler = match known {
            Some(handler) => handler,
            // Many may wait here, so what was read is not kept: each reads again when it is its turn.
            None => {
                let place = self.sandbox.compiler().await;
                let wasm = read_component(&plan).await.map_err(|error| Refusal::of(&error, None))?;
                digest = wasm.digest();
                let compiled = self.sandbox.compile(place, &wasm).await;
                compiled.map_err(|error| Refusal::of_load(&plan, error, digest))?
            }
        };
        Ok(Ready {
            tenant: Arc::clone(&plan.tenant),
            handler,
            digest,
            admission: Arc::new(Admission::new(&plan.admission)),
            tokens: plan.tokens.clone(),
        })
    }

    /// Which component stands there, and its handler if it need not be compiled; one tenant after another.
    async fn known(
        &self,
        plan: &Arc<Plan>,
        before: Option<&Ready>,
        refused: Option<Refusal>,
    ) -> Result<(Digest, Option<Handler>), Refusal> {
        // Nobody closes the semaphore.
        let _turn = self.reading.acquire().await.ok();
        let wasm = read_component(plan).await.map_err(|error| Refusal::of(&error, None))?;
        let digest = wasm.digest();
        if let Some(refused) = refused.filter(|refused| refused.digest == Some(digest)) {
            return Err(refused);
        }
        if let Some(before) = before.filter(|before| before.digest == digest) {
            return Ok((digest, Some(before.handler.clone())));
        }
        let compiled = self.sandbox.load_compiled(digest).await;
        Ok((digest, compiled.map_err(|error| Refusal::of_load(plan, error, digest))?))
    }

    fn look(&self, id: &TenantId) -> (Option<Arc<Ready>>, Option<Refusal>) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .get(id)
            .map_or((None, None), |slot| (slot.serving.clone(), slot.refused.clone()))
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<TenantId, Slot>) -> T) -> T {
        // No change leaves the table half made, so one that panicked leaves it as it was.
        change(&mut self.slots.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tenant of this id, or why it cannot be served; none where there is no such tenant.
    pub fn get(&self, id: &str) -> Option<Result<Arc<Ready>, Refusal>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(id)?;
        let ready = slot.serving.clone();
        Some(ready.ok_or_else(|| slot.refused.clone().unwrap_or_else(Refusal::not_yet)))
    }

    /// What state every tenant is in, in the order of their ids.
    pub fn status(&self) -> Vec<Status> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = slots
            .iter()
            .map(|(id, slot)| Status {
                tenant: id.to_string(),
                component: slot.serving.as_ref().map(|ready| ready.digest.to_string()),
                refused: slot.refused.as_ref().map(|refused| refused.reason.clone()),
            })
            .collect();
        all.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        all
    }
}

impl Refusal {
    fn of(error: &TenantError, digest: Option<Digest>) -> Self {
        Self {
            told: error.told(),
            reason: one_line(&chain(error), REASON_MAX),
            digest,
        }
    }

    /// What the sandbox said of a component; only what would be said again is remembered with it.
    fn of_load(plan: &Plan, source: LoadError, digest: Digest) -> Self {
        let digest = source.is_final().then_some(digest);
        let path = plan.component.clone();
        Self::of(&TenantError::Load { path, source }, digest)
    }

    fn not_yet() -> Self {
        Self {
            told: "its component is being loaded; try again soon".into(),
            reason: "its component is being loaded".into(),
            digest: None,
        }
    }
}

/// Refuses the tenants that anybody on the network could call.
pub fn refuse_open(found: &mut [Found]) {
    for found in found {
        if let Ok(plan) = &found.plan
            && plan.tokens.is_open()
        {
            let path = plan.component.with_file_name("tenant.toml");
            found.plan = Err(TenantError::Open(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use namelock_sandbox::{CacheConfig, CompilerConfig, SandboxConfig};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_accepted_exactly_by_its_rule(text in "[a-zA-Z0-9./_%-]{0,70}") {
            let chars: Vec<char> = text.chars().collect();
            let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
            let expect = (1..=63).contains(&chars.len()) && chars.iter().all(allowed) && chars[0] != '-';
            prop_assert_eq!(TenantId::from_str(&text).is_ok(), expect);
        }

        #[test]
        fn a_valid_id_names_one_entry_of_the_directory(text in any::<String>()) {
            if let Ok(id) = TenantId::from_str(&text) {
                let joined = Path::new("tenants").join(id.as_str());
                prop_assert_eq!(joined.parent(), Some(Path::new("tenants")));
                prop_assert_eq!(joined.components().count(), 2);
            }
        }
    }

    #[test]
    fn an_id_cannot_lead_out_of_the_directory() {
        for text in [
            "", ".", "..", "../x", "/etc", "a/b", "a\\b", "a\0", "a\n", "A", "é", "-a", "a.b", "a%2fb",
        ] {
            assert!(TenantId::from_str(text).is_err(), "{text:?}");
        }
        assert!(TenantId::from_str(&"a".repeat(63)).is_ok());
        assert!(TenantId::from_str(&"a".repeat(64)).is_err());
    }

    /// Reads the plan of tenant `acme` from this `tenant.toml`.
    fn plan(file: &str) -> Result<Arc<Tenant>, String> {
        let dir = tempfile::tempdir().unwrap();
        let acme = dir.path().join("acme");
        fs::create_dir(&acme).unwrap();
        fs::write(acme.join("tenant.toml"), file).unwrap();
        let found = find(dir.path(), &Limits::default(), &Limits::default())
            .unwrap()
            .remove(0);
        let place = acme.join("tenant.toml").display().to_string();
        found
            .plan
            .map(|plan| plan.tenant)
            .map_err(|error| chain(&error).replace(&place, "FILE"))
    }

    #[test]
    fn a_tenant_without_a_file_has_the_defaults() {
        let tenant = plan("").unwrap();
        assert_eq!((&*tenant.id, &*tenant.namespace), ("acme", "acme"));
        assert_eq!(tenant.limits.leases, namelock_sandbox::CallLimits::default().leases);
    }

    #[test]
    fn a_tenant_file_sets_namespace_settings_and_limits() {
        let file = "namespace = \"\"\n[settings]\nmax = 3\nprefix = \"r-\"\nopen = true\n[limits]\ncpu_time = \"20ms\"";
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
            "namespace = \"other\"",
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
             `handles`, `random_bytes`, `attributes`, `attribute_bytes`, `log_bytes`",
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

    #[test]
    fn a_directory_that_is_not_there_is_a_configuration_error() {
        let error = find(Path::new("/no/such/dir"), &Limits::default(), &Limits::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/no/such/dir: cannot read the directory of tenants: "),
            "{error}"
        );
        assert!(error.ends_with("; create it or pass --tenants DIR"), "{error}");
    }

    #[test]
    fn what_is_not_a_tenants_directory_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("good")).unwrap();
        fs::create_dir(dir.path().join("Bad")).unwrap();
        fs::write(dir.path().join("readme"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let found = find(dir.path(), &Limits::default(), &Limits::default()).unwrap();
        assert_eq!(
            found.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(),
            ["good"]
        );
    }

    #[test]
    fn a_tenant_without_tokens_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let token = format!(
            "[[tokens]]\nname = \"t\"\nsha256 = \"{}\"\nrights = [\"find\"]",
            "0".repeat(64)
        );
        for (tenant, file) in [("bad", "x = 1"), ("closed", token.as_str()), ("open", "")] {
            fs::create_dir(dir.path().join(tenant)).unwrap();
            fs::write(dir.path().join(tenant).join("tenant.toml"), file).unwrap();
        }
        let mut found = find(dir.path(), &Limits::default(), &Limits::default()).unwrap();
        assert_eq!(first_open(&found).map(TenantId::as_str), Some("open"));
        refuse_open(&mut found);
        assert!(first_open(&found).is_none());
        let refused: Vec<_> = found
            .iter()
            .filter(|found| found.plan.is_err())
            .map(|found| found.id.as_str())
            .collect();
        assert_eq!(refused, ["bad", "open"]);
    }

    #[tokio::test]
    async fn a_tenant_that_cannot_be_loaded_keeps_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).join("handler.wasm");
        for name in ["none", "garbage", "long", "link", "folder", "toml"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(at("garbage"), "no component").unwrap();
        fs::write(at("long"), vec![0; 1025]).unwrap();
        std::os::unix::fs::symlink(at("garbage"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(dir.path().join("toml/tenant.toml"), "x = 1").unwrap();

        let limits = Limits {
            component: 1024,
            ..Limits::default()
        };
        let elsewhere = tempfile::tempdir().unwrap();
        let config = SandboxConfig {
            instances: 1,
            ..SandboxConfig::default()
        };
        let compiler = CompilerConfig {
            cache: CacheConfig {
                dir: elsewhere.path().join("cache"),
                files: 1,
            },
            // This test is not the program that has the command `compile`.
            program: "/no/such/program".into(),
            ..CompilerConfig::default()
        };
        let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
        tenants.read(find(dir.path(), &limits, &limits).unwrap()).await;
        let check = |name: &str, expect: &str| match tenants.get(name) {
            Some(Err(refused)) => assert!(refused.reason.contains(expect), "{}", refused.reason),
            Some(Ok(_)) | None => panic!("{name} is not unavailable"),
        };
        check("none", "handler.wasm: No such file");
        check("garbage", "the compiler could not be run: No such file");
        check("long", "is longer than 1024 bytes");
        check("link", "is not a regular file");
        check("folder", "is not a regular file");
        check("toml", "unknown field `x`");
        assert!(tenants.get("other").is_none());

        tenants.read(Vec::new()).await;
        assert!(tenants.get("none").is_none(), "a tenant that is gone is unknown");
    }
}
