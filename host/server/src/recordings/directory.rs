//! The recordings of a tenant: a directory of files whose names begin with the time, bounded in number, bytes and age.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::file::write;

/// How a recording's name ends, and that of one that is being written.
const RECORDING: &str = ".json";
const DRAFT: &str = ".tmp";

/// How old a draft has to be for whoever wrote it to be gone: another host may write into the same directory.
const DRAFT_AGE: Duration = Duration::from_mins(1);

/// By how much the clock may have been ahead when a recording was written.
const AHEAD_MAX: Duration = Duration::from_mins(1);

/// What a tenant may keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) age: Duration,
}

/// A recording that is kept.
struct Kept {
    path: PathBuf,
    bytes: u64,
    /// When it was written, in milliseconds since 1970; 0: by a clock that was ahead, so nobody knows, and it goes first.
    at_ms: u64,
}

/// Creates a directory that only this user may enter, unless it is there.
pub(super) fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The name of a recording. All names of the same length sort by time.
pub(super) fn file_name(now: SystemTime, code: &str, request_id: &str) -> String {
    format!("{:013}-{code}-{request_id}{RECORDING}", milliseconds(now))
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Adds a recording to a directory, and removes the oldest ones until all are within bounds.
// Keeps P6: whatever a tenant does, its recordings take no more of the disk than they may.
pub(super) fn add(dir: &Path, name: &str, text: &[u8], bounds: Bounds, now: SystemTime) -> io::Result<()> {
    let bytes = text.len() as u64;
    if bounds.files == 0 || bytes > bounds.bytes {
        return Ok(());
    }
    create(dir)?;
    let mut kept = read(dir, now)?;
    let mut all: u64 = kept.iter().map(|kept| kept.bytes).sum();
    let oldest_ms = milliseconds(now.checked_sub(bounds.age).unwrap_or(UNIX_EPOCH));
    let mut oldest = kept.drain(..).peekable();
    let mut files = oldest.len();
    while let Some(Kept { path, bytes: freed, .. }) =
        oldest.next_if(|kept| files >= bounds.files || all + bytes > bounds.bytes || kept.at_ms < oldest_ms)
    {
        remove(&path)?;
        files -= 1;
        all -= freed;
    }
    write(&dir.join(name), text)
}

/// Removes the recordings of all tenants that are too old, also of those that are gone.
pub(super) fn sweep(dir: &Path, age: Duration, now: SystemTime) -> io::Result<()> {
    let oldest_ms = milliseconds(now.checked_sub(age).unwrap_or(UNIX_EPOCH));
    for tenant in fs::read_dir(dir)? {
        let tenant = tenant?;
        if !tenant.file_type()?.is_dir() {
            continue;
        }
        let kept = read(&tenant.path(), now)?;
        let mut old = kept.iter().filter(|kept| kept.at_ms < oldest_ms);
        old.try_for_each(|kept| remove(&kept.path))?;
    }
    Ok(())
}

/// The recordings in a directory, the oldest first. Drafts that nobody writes any more are removed.
fn read(dir: &Path, now: SystemTime) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    let latest_ms = milliseconds(now + AHEAD_MAX);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str() else { continue };
        // One that was removed meanwhile is not kept.
        let Ok(meta) = entry.metadata() else { continue };
        if !meta.is_file() {
            continue;
        }
        let time = name.split_once('-').and_then(|(time, _)| time.parse().ok());
        match time {
            Some(at_ms) if name.ends_with(RECORDING) => kept.push(Kept {
                path,
                bytes: meta.len(),
                at_ms: if at_ms > latest_ms { 0 } else { at_ms },
            }),
            Some(_) if name.ends_with(DRAFT) => {
                let is_left = meta
                    .modified()
                    .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age >= DRAFT_AGE));
                if is_left {
                    remove(&path)?;
                }
            }
            // Somebody else's.
            _ => {}
        }
    }
    kept.sort_by(|a, b| (a.at_ms, &a.path).cmp(&(b.at_ms, &b.path)));
    Ok(kept)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        files: 3,
        bytes: 100,
        age: Duration::from_secs(10),
    };

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_900_000_000) + Duration::from_millis(ms)
    }

    /// Adds a recording of so many bytes.
    fn add_at(dir: &Path, ms: u64, id: &str, bytes: usize) {
        let name = file_name(at(ms), "handler_trapped", id);
        add(dir, &name, &vec![b'x'; bytes], BOUNDS, at(ms)).unwrap();
    }

    /// The ids of those that are kept.
    fn ids(dir: &Path) -> Vec<String> {
        let kept = read(dir, at(0)).unwrap();
        let id = |kept: &Kept| {
            let name = kept.path.file_name().unwrap().to_str().unwrap().to_owned();
            name.strip_suffix(RECORDING)
                .unwrap()
                .rsplit_once('-')
                .unwrap()
                .1
                .to_owned()
        };
        kept.iter().map(id).collect()
    }

    // Shows P6: a tenant keeps so many recordings and no more.
    #[test]
    fn the_oldest_of_too_many_recordings_goes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("t");
        for (ms, id) in [(3, "c"), (1, "a"), (2, "b"), (4, "d"), (5, "e")] {
            add_at(&dir, ms, id, 10);
        }
        assert_eq!(ids(&dir), ["c", "d", "e"]);
    }

    // Shows P6: nor more bytes than it may.
    #[test]
    fn the_oldest_goes_until_the_bytes_suffice() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("t");
        add_at(&dir, 1, "a", 40);
        add_at(&dir, 2, "b", 60);
        assert_eq!(ids(&dir), ["a", "b"]);
        add_at(&dir, 3, "c", 41);
        assert_eq!(ids(&dir), ["c"]);
        add_at(&dir, 4, "d", 101);
        assert_eq!(
            ids(&dir),
            ["c"],
            "one that alone is too long is not kept, and costs no other its place"
        );
    }

    #[test]
    fn what_is_too_old_goes_also_of_tenants_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, other) = (folder.path().join("t"), folder.path().join("gone"));
        add_at(&dir, 0, "a", 10);
        add_at(&dir, 5_000, "b", 10);
        add_at(&other, 0, "c", 10);
        fs::write(other.join("README"), "somebody else's").unwrap();
        sweep(folder.path(), BOUNDS.age, at(10_000)).unwrap();
        assert_eq!(
            (ids(&dir).len(), ids(&other).len()),
            (2, 1),
            "exactly as old as it may be"
        );
        sweep(folder.path(), BOUNDS.age, at(10_001)).unwrap();
        assert_eq!((ids(&dir), ids(&other)), (vec!["b".to_owned()], vec![]));
        assert!(other.join("README").exists());
        add_at(&dir, 15_001, "d", 10);
        assert_eq!(ids(&dir), ["d"]);
    }

    #[test]
    fn what_a_killed_host_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let draft = folder.path().join("1900000000000-x-y.json.7.tmp");
        fs::write(&draft, "half").unwrap();
        let now = SystemTime::now();
        add(folder.path(), &file_name(now, "c", "r"), b"x", BOUNDS, now).unwrap();
        assert!(draft.exists(), "another host may be writing it");
        let later = now + DRAFT_AGE;
        add(folder.path(), &file_name(later, "c", "r"), b"x", BOUNDS, later).unwrap();
        assert!(!draft.exists());
    }

    #[test]
    fn what_was_written_by_a_clock_that_was_ahead_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        for (ms, id) in [(90_000_000, "next day"), (1, "a"), (2, "b"), (3, "c")] {
            add_at(folder.path(), ms, id, 10);
        }
        assert_eq!(ids(folder.path()), ["a", "b", "c"]);
        // Something else of such a name is nobody's recording.
        fs::create_dir(folder.path().join(file_name(at(0), "handler_trapped", "dir"))).unwrap();
        add_at(folder.path(), 4, "d", 10);
        assert_eq!(ids(folder.path()), ["b", "c", "d"]);
    }
}
