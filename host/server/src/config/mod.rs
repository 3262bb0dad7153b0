//! Flags, environment and file become one checked [`Config`].
//!
//! In reading order:
//!
//! - `setting`: what is declared about a setting, once: key, range, sentence, field, and what happens at the limit;
//! - `limits`: the settings of a tenant; `settings`: those of the host. To add one, add an entry there;
//! - `types`, `admin`, `record`: the structs that the settings fill;
//! - `file`: reads the layers and fills them; `given`: the part of it that reads a section of a file;
//! - `flags`: the flags of `namelock serve`;
//! - `source`, `units`: where a value stands, and how times and sizes are written;
//! - `document`: `docs/configuration.md`.

mod admin;
mod document;
mod file;
mod flags;
mod given;
mod limits;
mod record;
pub mod setting;
mod settings;
pub mod source;
mod types;
pub mod units;

pub use admin::{AdminConfig, AdminTokens};
pub use document::{document, effective};
pub use flags::ServeFlags;
pub use limits::{Limits, LimitsSection};
pub use record::RecordConfig;
pub use settings::{Described, STACK_BYTES, all};
pub use types::{Config, HttpConfig};
