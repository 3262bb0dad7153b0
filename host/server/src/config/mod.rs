//! Flags, environment and file become one checked [`Config`].
//!
//! In reading order:
//!
//! - `setting`: what is declared about a setting, once: key, range, sentence, field, and what happens at the limit;
//! - `limits`: the settings of a tenant; `settings`: those of the host, in their `sections`. To add one, add an entry there;
//! - `types`, `admin`, `record`, `trace`: the structs that the settings fill;
//! - `file`: reads the layers and fills them; `given`: the part of it that reads a section of a file;
//! - `flags`: the flags of `namelock serve`;
//! - `source`, `units`: where a value stands, and how times and sizes are written;
//! - `described`: all settings with their defaults; `document`: `docs/configuration.md`.

mod admin;
mod described;
mod document;
mod file;
mod flags;
mod given;
mod limits;
mod record;
mod sections;
pub mod setting;
mod settings;
pub mod source;
mod trace;
mod types;
pub mod units;

pub use admin::{AdminConfig, AdminTokens};
pub use described::{Described, all};
pub use document::{document, effective};
pub use file::Rest;
pub use flags::ServeFlags;
pub use limits::{Limits, LimitsSection};
pub use record::RecordConfig;
pub use settings::STACK_BYTES;
pub use trace::{OtlpUrl, TraceConfig};
pub use types::{Config, HttpConfig};
