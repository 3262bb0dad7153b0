//! Checks of the repository's own files.
//!
//! In reading order:
//!
//! - [`lexer`]: splits a Rust source into code and comments, and marks what only tests contain;
//! - [`imports`]: the paths that a source names, by `use` or in place;
//! - [`circles`]: the files of a crate that import each other in a circle;
//! - [`lengths`]: the length of each file without its unit tests;
//! - [`promises`]: the promises P1, P2, …, where code keeps them and where tests show them;
//! - [`documents`]: links, anchors and code blocks in Markdown, and comments that are too wide;
//! - [`files`]: the files themselves.
//!
//! Every check is a function from text to findings, so its unit tests can show that it fails. `tests/repository.rs`
//! applies them to this repository.

pub mod circles;
pub mod documents;
pub mod files;
pub mod imports;
pub mod lengths;
pub mod lexer;
pub mod promises;
