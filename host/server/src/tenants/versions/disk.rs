//! The files of the directory of versions: written whole or not at all, and read as what anybody may have put there.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::super::error::TenantError;
use super::super::files::open_regular;
use super::history::History;

/// The file whose lock is held while something is changed.
const LOCK: &str = "lock";

/// Longest history that is read, in bytes: far more than the most versions take.
const HISTORY_MAX: u64 = 256 << 10;

/// The file whose lock is held while something is changed, in a directory that is made, for this user alone, if it is not there:
/// who removes it while the host serves loses what was kept, and nothing more.
pub(super) fn lock_in(dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    File::create(dir.join(LOCK))
}

/// Opens what was kept, which others may have put there.
pub(super) fn open_kept(path: &Path) -> io::Result<File> {
    open_regular(path).map_err(|error| match error {
        TenantError::Read { source, .. } => source,
        other => io::Error::other(other),
    })
}

pub(super) fn absent_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// Reads a history; an empty one if there is none, or none that can be read.
pub(super) fn read_history(path: &Path) -> History {
    let read = || -> io::Result<History> {
        let mut text = Vec::new();
        open_kept(path)?.take(HISTORY_MAX).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    };
    read().unwrap_or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            tracing::error!(path = %path.display(), %error, "cannot read which versions were served; a new list is begun");
        }
        History::default()
    })
}

/// Writes a file beside and renames it, so that nobody reads half of it.
pub(super) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    if durable {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}
