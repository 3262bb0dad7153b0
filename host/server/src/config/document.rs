//! The page `docs/configuration.md`: every setting as a commented file, and the flags and variables.

use super::described::{Described, all};
use super::file::CONFIG;
use super::limits::TENANT;
use super::sections::{MAX, SECTIONS};
use super::setting::{Entry, Flag};
use super::settings::HOST;
use super::types::Config;
use super::units::Value;

/// What the page says before the file.
const INTRODUCTION: &str = "# Configuration

Generated from `host/server/src/config/settings.rs` and `limits.rs` beside it; to change it, edit those files and run
the tests with `UPDATE_DOCS=1`.

A flag wins over its variable in the environment, which wins over the file, which wins over the default. An unknown key
is an error. The file is read at the start of the host; at SIGHUP each `tenant.toml` is read again, and `admin.tokens`.

";

/// What it says after them.
const REST: &str = "
`NAMELOCK_LOG` filters the log on standard error: `info` (the default), `info,namelock=debug`, `warn,guest=off`.
`NAMELOCK_LOG_FORMAT` says whether its lines are `text` (the default) or objects in `json`. What
handlers print has the target `guest`.

## A tenant's file

`DIR/TENANT/tenant.toml` may have

- `namespace`, which is left out, or empty to [share locks with Python programs](protocol.md#the-python-idiom);
- `record = \"failures\"`, which keeps [recordings](operations.md#recordings) of calls that fail because of the handler, if the
  host has a `record.dir`;
- a section `[settings]`, what the [handler](handlers.md#tenanttoml) reads;
- a section `[limits]`, with the keys of `[limits]` above, except `stack`. What it leaves out has the value of the
  host's file; what it sets may go up to `[limits.max]`. [limits.md](limits.md) says what happens at each limit;
- sections `[[tokens]]`, who may [call](authentication.md).
";

/// The text of the page.
pub fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    flags(&mut text);
    text.push_str("\n## The file\n\nEvery key with its default. A line with `# key = …` is a key that is absent by default.\n\n```toml\n");
    text.push_str(&file());
    text.push_str("```\n");
    text.push_str(REST);
    text
}

fn flags(text: &mut String) {
    text.push_str("## Flags and variables\n\n| flag of `namelock serve` | variable | key |\n|---|---|---|\n");
    let mut row = |flag: Flag, key: &str| {
        text.push_str(&format!("| `{}` | `{}` | {key} |\n", flag.flag(), flag.variable()));
    };
    row(CONFIG, "the file itself");
    for Described { entry, flag, .. } in all() {
        if let Some(flag) = flag {
            row(flag, &format!("`{}`", entry.key));
        }
    }
}

/// The default configuration as a commented file, which says the same as no file at all.
pub(super) fn file() -> String {
    let all = all();
    let mut text = String::new();
    for (name, about) in SECTIONS {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}# {about}.\n[{name}]\n"));
        let settings = all
            .iter()
            .filter(|setting| name != MAX && setting.entry.section() == name);
        settings.for_each(|setting| line(&mut text, setting));
    }
    text
}

/// Every setting with the value that it has in `config`, as a file. Of the URL of a PostgreSQL user, password and options are left out, of
/// that of a memcached the password.
pub fn effective(config: &Config) -> String {
    let mut config = config.clone();
    let mut text = String::new();
    for (name, _) in SECTIONS {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}[{name}]\n"));
        let limits = match name {
            "limits" => Some(&mut config.limits),
            MAX => Some(&mut config.limits_max),
            _ => None,
        };
        let mut line = |entry: Entry, value: Option<Value>| match value {
            Some(value) => {
                let value = value.to_string();
                if value.starts_with("\"postgres") {
                    text.push_str("# Without its user, password and options.\n");
                }
                if value.starts_with("\"memcached") && value.contains('@') {
                    text.push_str("# Without its password.\n");
                }
                text.push_str(&format!("{} = {value}\n", entry.name()));
            }
            None => text.push_str(&format!("# {} is absent\n", entry.name())),
        };
        if let Some(limits) = limits {
            TENANT
                .iter()
                .for_each(|setting| line(setting.entry, setting.value(limits)));
        }
        let host = HOST.iter().filter(|setting| setting.entry.section() == name);
        host.for_each(|setting| line(setting.entry, setting.value(&mut config)));
    }
    text
}

fn line(text: &mut String, setting: &Described) {
    let entry = &setting.entry;
    let mut comment = format!("# {}.", entry.says);
    if let Some(range) = entry.kind.range() {
        comment.push_str(&format!(" {range}."));
    }
    if let Some(flag) = setting.flag {
        comment.push_str(&format!(" {}, {}.", flag.flag(), flag.variable()));
    }
    let name = entry.name();
    let value = match (&setting.default, entry.absent) {
        (Some(value), _) => format!("{name} = {value}"),
        (None, Some((example, means))) => {
            comment.push_str(&format!(" Absent: {means}."));
            format!("# {name} = \"{example}\"")
        }
        (None, None) => format!("# {name} ="),
    };
    text.push_str(&format!("{comment}\n{value}\n"));
}
