//! What is declared about a setting. Parser, bounds, the check against `[limits.max]`, the limits table and the commented
//! default file all come from this one declaration.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use namelock_lock::LockUrl;
use namelock_names::NamesUrl;

use super::admin::AdminTokens;
use super::flags::ServeFlags;
use super::trace::{InvalidOtlpUrl, OtlpUrl};
use super::units::{SIZES, TIMES, Value, show};
use crate::error::ErrorKind;
use crate::same_site::{HostName, InvalidHostName};
use crate::tenants::{InvalidTenantId, TenantId};
use crate::tokens::right::{AdminRight, InvalidRight, list};
use crate::tokens::{InvalidTokens, Tokens};

/// A setting of the host (`T` is `Config`) or of a tenant (`T` is `Limits`).
#[derive(Debug)]
pub struct Setting<T> {
    /// What does not depend on the struct that the setting is stored in.
    pub entry: Entry,
    /// The flag and variable that win over the file.
    pub flag: Option<Flag>,
    /// The field that the setting is stored in; the default is what the struct's `Default` has there.
    pub field: fn(&mut T) -> Field<'_>,
}

/// What is known of a setting without the struct that it is stored in.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its key with its section, as in `http.body`.
    pub key: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// One sentence about it; of a limit, what it bounds.
    pub says: &'static str,
    /// What happens at the limit; none: it is no limit.
    pub limit: Option<Limit>,
    /// For a setting whose default is that it is absent: an example, and what its absence means.
    pub absent: Option<(&'static str, &'static str)>,
}

impl Entry {
    /// The section that the setting is in.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key inside its section.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }
}

/// What is declared about a limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What happens when it is reached.
    pub reached: Reached,
    /// The test that reaches it, as `module::name`; a test of a guest is named after the guest's module.
    pub test: &'static str,
}

/// What happens when a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The request is answered with a code.
    Code(ErrorKind),
    /// The HTTP library answers with a status and closes the connection; the request is not known yet at that point.
    Status(u16),
    /// The connection ends without an answer.
    Closed,
    /// The next one waits.
    Waits,
    /// The excess is dropped, and the call goes on.
    Dropped,
    /// The lock is not released, and expires when its time to live has passed.
    Expires,
}

/// The type of a setting and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A time, from and to in milliseconds.
    Time(u64, u64),
    /// A size, from and to in bytes.
    Size(u64, u64),
    /// A number, from and to.
    Count(u64, u64),
    /// `true` or `false`.
    Switch,
    /// Text, whose form the field decides.
    Text,
    /// A list of such texts.
    List,
    /// A list of tokens, each a table.
    Tokens,
}

impl Kind {
    /// The range in words, as a person would write it.
    pub fn range(self) -> Option<String> {
        let (min, max, units) = match self {
            Self::Time(min, max) => (min, max, TIMES.as_slice()),
            Self::Size(min, max) => (min, max, SIZES.as_slice()),
            Self::Count(min, max) => (min, max, [].as_slice()),
            Self::Switch | Self::Text | Self::List | Self::Tokens => return None,
        };
        Some(format!("{} to {}", show(min, units), show(max, units)))
    }
}

/// The flag and the variable of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name without the dashes in front; the variable is `NAMELOCK_` and the name in capitals, with `_` for a dash.
    name: &'static str,
    given: fn(&ServeFlags) -> Option<OsString>,
}

impl Flag {
    /// Declares a flag.
    pub const fn new(name: &'static str, given: fn(&ServeFlags) -> Option<OsString>) -> Self {
        Self { name, given }
    }

    /// The flag as it is typed.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The variable of the environment.
    pub fn variable(&self) -> String {
        format!("NAMELOCK_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// The value that was given by the flag, or else by the variable, and its place.
    pub fn find(&self, flags: &ServeFlags, env: &dyn Fn(&str) -> Option<OsString>) -> Option<(String, OsString)> {
        let flag = (self.given)(flags).map(|value| (self.flag(), value));
        flag.or_else(|| env(&self.variable()).map(|value| (self.variable(), value)))
    }
}

impl<T> Setting<T> {
    const fn new(key: &'static str, kind: Kind, field: fn(&mut T) -> Field<'_>) -> Self {
        let entry = Entry {
            key,
            kind,
            says: "",
            limit: None,
            absent: None,
        };
        Self {
            entry,
            flag: None,
            field,
        }
    }

    /// A time between `min` and `max` milliseconds.
    pub const fn time(key: &'static str, min: u64, max: u64, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::Time(min, max), field)
    }

    /// A size between `min` and `max` bytes.
    pub const fn size(key: &'static str, min: u64, max: u64, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::Size(min, max), field)
    }

    /// A number between `min` and `max`.
    pub const fn count(key: &'static str, min: u64, max: u64, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::Count(min, max), field)
    }

    /// `true` or `false`.
    pub const fn switch(key: &'static str, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::Switch, field)
    }

    /// An address, URL or path.
    pub const fn text(key: &'static str, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::Text, field)
    }

    /// A list of tenants.
    pub const fn tenants(key: &'static str, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::List, field)
    }

    /// A list of tokens of operators.
    pub const fn tokens(key: &'static str, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::Tokens, field)
    }

    /// A list of names of hosts.
    pub const fn hosts(key: &'static str, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::List, field)
    }

    /// A list of rights of operators.
    pub const fn rights(key: &'static str, field: fn(&mut T) -> Field<'_>) -> Self {
        Self::new(key, Kind::List, field)
    }

    /// Adds the sentence about it.
    pub const fn says(mut self, says: &'static str) -> Self {
        self.entry.says = says;
        self
    }

    /// Adds what happens when it is reached, and the test that reaches it.
    pub const fn limit(mut self, reached: Reached, test: &'static str) -> Self {
        self.entry.limit = Some(Limit { reached, test });
        self
    }

    /// Adds an example, and what it means that the setting is absent, which is the default.
    pub const fn absent(mut self, example: &'static str, means: &'static str) -> Self {
        self.entry.absent = Some((example, means));
        self
    }

    /// Adds the flag and variable that win over the file.
    pub const fn flag(mut self, name: &'static str, given: fn(&ServeFlags) -> Option<OsString>) -> Self {
        self.flag = Some(Flag::new(name, given));
        self
    }

    /// The value that the setting has in `target`.
    pub fn value(&self, target: &mut T) -> Option<Value> {
        (self.field)(target).get(self.entry.kind)
    }
}

/// Declares [`Field`]: the types of the fields that a setting can be stored in.
macro_rules! fields {
    ($($variant:ident($type:ty)),+ $(,)?) => {
        /// A field that a setting is stored in.
        #[derive(Debug)]
        pub enum Field<'a> {
            $(#[doc = concat!("A field of the type `", stringify!($type), "`.")] $variant(&'a mut $type),)+
        }

        $(impl<'a> From<&'a mut $type> for Field<'a> {
            fn from(field: &'a mut $type) -> Self {
                Self::$variant(field)
            }
        })+
    };
}

fields! {
    Time(Duration),
    OptionalTime(Option<Duration>),
    Usize(usize),
    U32(u32),
    U64(u64),
    Switch(bool),
    Address(SocketAddr),
    LockUrl(LockUrl),
    OptionalLockUrl(Option<LockUrl>),
    NamesUrl(NamesUrl),
    OptionalOtlpUrl(Option<OtlpUrl>),
    Path(PathBuf),
    OptionalPath(Option<PathBuf>),
    Tenants(Vec<TenantId>),
    Tokens(AdminTokens),
    Hosts(Vec<HostName>),
    Rights(Vec<AdminRight>),
}

impl Field<'_> {
    /// The value as it would be written in a file; none: it is absent.
    fn get(&self, kind: Kind) -> Option<Value> {
        let number = |number: u64| match kind {
            Kind::Size(..) => Value::Size(number),
            _ => Value::Count(number),
        };
        Some(match self {
            Self::Time(time) => Value::Time(**time),
            Self::OptionalTime(time) => Value::Time((**time)?),
            Self::Usize(n) => number(**n as u64),
            Self::U32(n) => number(u64::from(**n)),
            Self::U64(n) => number(**n),
            Self::Switch(on) => Value::Switch(**on),
            Self::Address(address) => Value::Text(address.to_string().into()),
            Self::LockUrl(url) => Value::Text(url.to_string().into()),
            Self::OptionalLockUrl(url) => Value::Text(url.as_ref()?.to_string().into()),
            Self::NamesUrl(url) => Value::Text(url.to_string().into()),
            Self::OptionalOtlpUrl(url) => Value::Text(url.as_ref()?.to_string().into()),
            Self::Path(path) => Value::Text(path.as_os_str().into()),
            Self::OptionalPath(path) => Value::Text(path.as_ref()?.into()),
            Self::Tenants(ids) => Value::List(ids.iter().map(ToString::to_string).collect()),
            Self::Tokens(tokens) => Value::Tokens(tokens.sections.clone()),
            Self::Hosts(names) => Value::List(names.iter().map(ToString::to_string).collect()),
            Self::Rights(rights) => Value::List(rights.iter().map(ToString::to_string).collect()),
        })
    }

    /// Stores a value of the setting's kind, or a text that a flag or variable gave.
    ///
    /// An error says what is wrong with the text and how to fix it. Numbers are in their range already, which is smaller
    /// than that of any field.
    pub fn set(self, value: Value) -> Result<(), String> {
        match (self, value) {
            (Self::Time(field), Value::Time(time)) => *field = time,
            (Self::OptionalTime(field), Value::Time(time)) => *field = Some(time),
            (Self::Usize(field), Value::Size(n) | Value::Count(n)) => *field = usize::try_from(n).unwrap_or(usize::MAX),
            (Self::U32(field), Value::Size(n) | Value::Count(n)) => *field = u32::try_from(n).unwrap_or(u32::MAX),
            (Self::U64(field), Value::Size(n) | Value::Count(n)) => *field = n,
            (Self::Switch(field), Value::Switch(on)) => *field = on,
            (Self::Path(field), Value::Text(path)) => *field = path.into(),
            (Self::OptionalPath(field), Value::Text(path)) => *field = Some(path.into()),
            (Self::Tenants(field), Value::List(ids)) => {
                let id =
                    |text: &String| parse(text, |error: InvalidTenantId| format!("`{text}` is no tenant; {error}"));
                *field = ids.iter().map(id).collect::<Result<_, _>>()?;
            }
            (Self::Tokens(field), Value::Tokens(sections)) => {
                let wrong = |errors: Vec<InvalidTokens>| {
                    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    errors.join("; ")
                };
                let tokens = Tokens::new(sections.clone()).map_err(wrong)?;
                *field = AdminTokens { sections, tokens };
            }
            (Self::Hosts(field), Value::List(names)) => {
                let name =
                    |text: &String| parse(text, |error: InvalidHostName| format!("`{text}` is no name; {error}"));
                *field = names.iter().map(name).collect::<Result<_, _>>()?;
            }
            (Self::Rights(_), Value::List(rights)) if rights.is_empty() => {
                return Err(format!(
                    "nothing is allowed; write some of {}",
                    list::<AdminRight>("and")
                ));
            }
            (Self::Rights(field), Value::List(rights)) => {
                let right = |text: &String| parse(text, |error: InvalidRight| format!("`{text}` is none; {error}"));
                *field = rights.iter().map(right).collect::<Result<_, _>>()?;
            }
            (field, Value::Text(text)) => {
                let text = text.to_str().ok_or("the value is not UTF-8; write it in UTF-8")?;
                field.parse(text)?;
            }
            _ => return Err("the setting is declared with a kind that its field cannot hold; report this bug".into()),
        }
        Ok(())
    }

    fn parse(self, text: &str) -> Result<(), String> {
        match self {
            Self::Switch(field) => *field = parse(text, |_| format!("`{text}` is neither; write true or false"))?,
            Self::Address(field) => {
                *field = parse(text, |_| {
                    format!("`{text}` is not an address; write an IP address with a port, as in 127.0.0.1:8080")
                })?;
            }
            Self::LockUrl(field) => *field = parse(text, |error: namelock_lock::OpenError| error.to_string())?,
            Self::OptionalLockUrl(field) => {
                *field = Some(parse(text, |error: namelock_lock::OpenError| error.to_string())?);
            }
            Self::NamesUrl(field) => {
                *field = parse(text, |error| {
                    format!("{error}; write sqlite:PATH or postgres://user@host/database")
                })?;
            }
            Self::OptionalOtlpUrl(field) => *field = Some(parse(text, |error: InvalidOtlpUrl| error.to_string())?),
            _ => return Err("this setting cannot be given as text; report this bug".into()),
        }
        Ok(())
    }
}

fn parse<T: FromStr>(text: &str, wrong: impl FnOnce(T::Err) -> String) -> Result<T, String> {
    text.parse().map_err(wrong)
}
