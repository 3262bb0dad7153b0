//! Reads the layers of the configuration into one checked [`Config`].
//!
//! A flag wins over the environment, which wins over the file, which wins over the defaults.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use namelock_lock::LockConfig;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::admin::AdminTokens;
use super::flags::ServeFlags;
use super::given::{Given, OneOf, Section};
use super::limits::{self, Limits, LimitsSection};
use super::sections::{MAX, SECTIONS};
use super::setting::{Flag, Setting};
use super::settings::{ADMIN_TOKENS, HOST, entries};
use super::source::{ConfigError, Source};
use super::types::Config;
use super::units::Value;

/// Longest configuration file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// The flag that names the file; the file itself cannot.
pub(super) const CONFIG: Flag = Flag::new("config", |flags| flags.config.clone());

impl Config {
    /// Reads the configuration; `env` looks up a variable.
    ///
    /// # Errors
    ///
    /// What is wrong, where, and how to fix it, on one line.
    pub fn load(flags: &ServeFlags, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let source = source(flags, env)?;
        let (config, wrong) = fill(&source.parse()?, &source, flags, env);
        match wrong.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(config),
        }
    }

    /// Reads `admin.tokens` again, as they stand in the file now.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has something that no file may have, or the tokens are wrong.
    pub fn admin_tokens_now(&self) -> Result<AdminTokens, ConfigError> {
        let Some(path) = &self.file else {
            return Ok(self.admin.tokens.clone());
        };
        let source = Source::read(path, FILE_MAX)?;
        let file: ConfigFile = source.parse()?;
        let mut fresh = Self::default();
        for setting in HOST.iter().filter(|setting| setting.entry.key == ADMIN_TOKENS) {
            if let Some((place, value)) = file.value(setting, &source) {
                let stored = (setting.field)(&mut fresh).set(value);
                stored.map_err(|problem| ConfigError::new(place, problem))?;
            }
        }
        Ok(fresh.admin.tokens)
    }
}

/// A configuration without what is wrong with it, in place of which it has the defaults.
#[derive(Debug)]
pub struct Rest {
    /// What is left.
    pub config: Config,
    /// All that is wrong, up to a bound.
    pub wrong: Vec<ConfigError>,
}

impl Rest {
    /// Reads the configuration as [`Config::load`] does, and goes on without what is wrong.
    pub fn load(flags: &ServeFlags, env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let nothing = |wrong| Self {
            config: Config::default(),
            wrong,
        };
        let source = match source(flags, env) {
            Ok(source) => source,
            Err(error) => return nothing(vec![error]),
        };
        match source.parse_all() {
            (None, wrong) => nothing(wrong),
            (Some(file), mut wrong) => {
                let (config, more) = fill(&file, &source, flags, env);
                wrong.extend(more);
                Self { config, wrong }
            }
        }
    }

    /// Whether what these sections say is all there, so that what follows from it is so. A setting that nobody knows may be
    /// any of its section that is misspelt, and a section that nobody knows may be any section.
    pub fn knows(&self, sections: &[&str]) -> bool {
        let is_elsewhere = |error: &ConfigError| {
            let is_known = SECTIONS.iter().any(|(name, _)| *name == error.section());
            is_known && !sections.contains(&error.section())
        };
        self.wrong.iter().all(is_elsewhere)
    }
}

/// The file that the flags or the environment name.
fn source(flags: &ServeFlags, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Source, ConfigError> {
    match CONFIG.find(flags, env) {
        Some((_, path)) => Source::read(Path::new(&path), FILE_MAX),
        None => Ok(Source::default()),
    }
}

/// Fills the configuration from all layers, without what is wrong, and lists that.
fn fill(
    file: &ConfigFile,
    source: &Source,
    flags: &ServeFlags,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> (Config, Vec<ConfigError>) {
    let mut config = Config {
        file: source.path().map(Path::to_owned),
        ..Config::default()
    };
    let mut wrong = Vec::new();
    for setting in HOST {
        let flag = setting.flag.and_then(|flag| flag.find(flags, env));
        let value = flag.map(|(place, text)| (place, Value::Text(text)));
        if let Some((place, value)) = value.or_else(|| file.value(setting, source)) {
            let stored = (setting.field)(&mut config).set(value);
            wrong.extend(
                stored
                    .err()
                    .map(|problem| ConfigError::new(place, problem).of(setting.entry.key)),
            );
        }
    }
    config.limits = file.given.over(&Limits::default());
    // What is left out may not be raised by a tenant, so that the operator decides on every limit that may.
    config.limits_max = file.max.over(&config.limits);
    wrong.extend(config.limits.beyond(&config.limits_max, |key| source.place(None, key)));
    wrong.extend(check_hold(&config.lock, source).err());
    wrong.extend(check_backoff(&config.lock, source).err());
    (config, wrong)
}

/// Refuses a longest hold that is shorter than one lease.
fn check_hold(lock: &LockConfig, source: &Source) -> Result<(), ConfigError> {
    if lock.max_hold < lock.lease {
        let (max_hold, lease) = (lock.max_hold, lock.lease);
        let problem =
            format!("{max_hold:?} is shorter than lock.lease, {lease:?}; make it longer or the other shorter");
        return Err(ConfigError::new(source.place(None, "lock.max_hold"), problem).of("lock.max_hold"));
    }
    Ok(())
}

/// Refuses a shortest pause that is longer than the longest one.
fn check_backoff(lock: &LockConfig, source: &Source) -> Result<(), ConfigError> {
    if lock.backoff_min > lock.backoff_max {
        let (min, max) = (lock.backoff_min, lock.backoff_max);
        let problem = format!("{min:?} is longer than lock.backoff_max, {max:?}; make it shorter or the other longer");
        return Err(ConfigError::new(source.place(None, "lock.backoff_min"), problem).of("lock.backoff_min"));
    }
    Ok(())
}

/// The file as it is written; what is left out keeps its default.
#[derive(Debug, Default)]
struct ConfigFile {
    /// Every section but `limits.max`; the limits of tenants are among them.
    given: LimitsSection,
    max: LimitsSection,
}

impl ConfigFile {
    /// The value of a setting and its place.
    fn value(&self, setting: &Setting<Config>, source: &Source) -> Option<(String, Value)> {
        let LimitsSection(given) = &self.given;
        let found = given.get(setting.entry.key)?;
        Some((source.place(found.start, setting.entry.key), found.value.clone()))
    }
}

impl<'de> Deserialize<'de> for ConfigFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Sections)
    }
}

struct Sections;

impl<'de> Visitor<'de> for Sections {
    type Value = ConfigFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of sections")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ConfigFile, A::Error> {
        let names: Vec<_> = SECTIONS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| *name != MAX)
            .collect();
        let (mut given, mut max) = (Given::default(), Given::default());
        while let Some(index) = map.next_key_seed(OneOf(&names))? {
            let name = names[index];
            let inner = MAX.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            let inner = inner.map(|inner| {
                let section = Section {
                    entries: limits::entries(),
                    given: &mut max,
                    inner: None,
                };
                (inner, Box::new(section))
            });
            map.next_value_seed(Section {
                entries: entries(name),
                given: &mut given,
                inner,
            })?;
        }
        Ok(ConfigFile {
            given: LimitsSection(given),
            max: LimitsSection(max),
        })
    }
}

#[cfg(test)]
mod tests;
