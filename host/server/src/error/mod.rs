//! The closed list of error codes, and the one place that turns a failure into an answer.
//!
//! - `kind`: each code, declared once with its status, title and page;
//! - `problem`: one failure, as the caller and the log see it;
//! - `outcome`: how a request ended, for metric and log: success, a code, or nobody there to be answered;
//! - `document`: the page `docs/errors.md`.

mod document;
mod kind;
mod outcome;
mod problem;

pub use document::document;
pub use kind::{ErrorKind, Page, Retry};
pub use outcome::Outcome;
pub use problem::Problem;
