//! Reads the layers of the configuration into one checked [`Config`].
//!
//! A flag wins over the environment, which wins over the file, which wins over the defaults.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use namelock_lock::LockConfig;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::flags::ServeFlags;
use super::given::{Given, OneOf, Section};
use super::limits::{self, Limits, LimitsSection};
use super::setting::{Flag, Setting};
use super::settings::{HOST, MAX, SECTIONS, entries};
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
        let source = match CONFIG.find(flags, env) {
            Some((_, path)) => Source::read(Path::new(&path), FILE_MAX)?,
            None => Source::default(),
        };
        let file: ConfigFile = source.parse()?;
        let mut config = Self::default();
        for setting in HOST {
            let flag = setting.flag.and_then(|flag| flag.find(flags, env));
            let value = flag.map(|(place, text)| (place, Value::Text(text)));
            if let Some((place, value)) = value.or_else(|| file.value(setting, &source)) {
                let stored = (setting.field)(&mut config).set(value);
                stored.map_err(|problem| ConfigError::new(place, problem))?;
            }
        }
        config.limits = file.given.over(&Limits::default());
        // What is left out may not be raised by a tenant, so that the operator decides on every limit that may.
        config.limits_max = file.max.over(&config.limits);
        let beyond = config.limits.beyond(&config.limits_max, |key| source.place(None, key));
        if let Some(error) = beyond.into_iter().next() {
            return Err(error);
        }
        check_lock(&config.lock, &source)?;
        Ok(config)
    }
}

/// Refuses settings of the lock that contradict each other.
fn check_lock(lock: &LockConfig, source: &Source) -> Result<(), ConfigError> {
    if lock.max_hold < lock.lease {
        let (max_hold, lease) = (lock.max_hold, lock.lease);
        let problem =
            format!("{max_hold:?} is shorter than lock.lease, {lease:?}; make it longer or the other shorter");
        return Err(ConfigError::new(source.place(None, "lock.max_hold"), problem));
    }
    if lock.backoff_min > lock.backoff_max {
        let (min, max) = (lock.backoff_min, lock.backoff_max);
        let problem = format!("{min:?} is longer than lock.backoff_max, {max:?}; make it shorter or the other longer");
        return Err(ConfigError::new(source.place(None, "lock.backoff_min"), problem));
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
