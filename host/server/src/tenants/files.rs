//! Opens the files in a tenant's directory, which its tenant may put there and change at any time.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::TenantError;

/// Opens a regular file, and nothing else: a link could lead out of the tenant's directory, and a pipe would wait for somebody
/// who writes.
///
/// It is opened first and looked at then, so nothing can be put in its place in between. A pipe that is opened like this waits
/// for nobody.
// Keeps P6: a tenant cannot stop the host with what it puts in the place of a file.
pub(super) fn open_regular(path: &Path) -> Result<File, TenantError> {
    let failed = |source| TenantError::Read {
        path: path.into(),
        source,
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        // A link, and a socket.
        Some(libc::ELOOP | libc::ENXIO) => TenantError::NotAFile(path.into()),
        _ => failed(error),
    })?;
    if file.metadata().map_err(failed)?.is_file() {
        Ok(file)
    } else {
        Err(TenantError::NotAFile(path.into()))
    }
}

/// Opens a regular file; none if nothing has this name.
pub(super) fn open_if_there(path: &Path) -> Result<Option<File>, TenantError> {
    match open_regular(path) {
        Ok(file) => Ok(Some(file)),
        Err(TenantError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    // Shows P6: what hangs when it is opened is refused at once.
    #[test]
    fn only_a_regular_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        assert!(open_regular(&at("file")).is_ok());
        for name in ["folder", "link", "socket", "pipe"] {
            let refused = open_regular(&at(name));
            assert!(matches!(refused, Err(TenantError::NotAFile(_))), "{name}: {refused:?}");
        }
        assert!(matches!(open_if_there(&at("none")), Ok(None)));
        assert!(open_if_there(&at("pipe")).is_err());
    }
}
