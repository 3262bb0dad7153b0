//! What commands print on standard output.

use std::io::Write;

use crate::lifecycle::RunError;

/// Prints a text whole.
///
/// # Errors
///
/// When it cannot be written, also because its reader has gone.
pub(crate) fn print(text: &str) -> Result<(), RunError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(RunError::Print)
}
