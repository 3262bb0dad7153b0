//! Keeps what was pulled, so that no registry is needed to serve it again.
//!
//! `DIR/<sha256>.json` is a manifest and `DIR/<sha256>.wasm` a component, each under the digest of its bytes. A reference names its
//! manifest, and that its component, so nothing else has to be written down. What is read is compared with its name: a file that
//! was cut off, or that somebody has changed, is removed and pulled again.
//!
//! A file is written beside its place and renamed, the component before its manifest, so that nobody reads half of either. Nothing
//! is flushed to the disk: what is lost with the power is found out when it is read. Hosts may share a directory. Everything here
//! blocks.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::manifest::{MANIFEST_MAX, component};
use crate::puller::Pulled;

/// What a file begins with that is being written.
const WRITING: &str = ".new-";

/// After which time such a file belongs to nobody any more: no pull and no disk takes as long.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// A directory of components and their manifests.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    /// What all files may take, in bytes.
    bytes: u64,
}

/// A manifest in the directory.
struct Kept {
    digest: Digest,
    component: Option<Digest>,
    used: SystemTime,
}

impl Cache {
    /// Opens a directory; it is created, for this user alone, when there is something to be kept.
    pub fn new(dir: &Path, bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            bytes,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads a component of at most `max` bytes by the digest of its manifest; none: it is not kept, or not as it should be.
    pub fn read(&self, manifest: Digest, max: u64) -> Option<Vec<u8>> {
        let path = self.manifest(manifest);
        let layer = component(&self.verified(&path, manifest, MANIFEST_MAX as u64)?).ok()?;
        if layer.bytes > max {
            // Whoever pulls it is told so.
            return None;
        }
        let found = self.verified(&self.component(layer.digest), layer.digest, layer.bytes)?;
        // It is the least recently used that goes first. Where that cannot be noted it goes earlier.
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        Some(found)
    }

    /// Keeps a component. Then the least recently used go that are not among `in_use`, until the rest is within the bound.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn keep(&self, pulled: &Pulled, in_use: &HashSet<Digest>) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let manifest = Digest::of(&pulled.manifest);
        self.write(&self.component(Digest::of(&pulled.component)), &pulled.component)?;
        self.write(&self.manifest(manifest), &pulled.manifest)?;
        self.sweep(in_use, manifest).unwrap_or_else(
            |error| tracing::warn!(dir = %self.dir.display(), %error, "cannot remove components that nobody uses"),
        );
        Ok(())
    }

    fn manifest(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{}.json", digest.digits()))
    }

    fn component(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{}.wasm", digest.digits()))
    }

    /// Reads a file of at most `max` bytes that has this digest; another one is removed.
    fn verified(&self, path: &Path, digest: Digest, max: u64) -> Option<Vec<u8>> {
        let read = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len().min(max);
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
            file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        };
        let bytes = read().inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read a component that was kept; it is pulled again");
            }
        });
        let bytes = bytes.ok()?;
        if Digest::of(&bytes) != digest {
            tracing::warn!(path = %path.display(), "a component that was kept is not what its name says; it is removed, and pulled again");
            let _ = fs::remove_file(path);
            return None;
        }
        Some(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(WRITING).tempfile_in(&self.dir)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes what is too much, and what no manifest names.
    fn sweep(&self, in_use: &HashSet<Digest>, new: Digest) -> io::Result<()> {
        let (mut manifests, mut sizes, mut components) = (Vec::new(), 0, HashSet::new());
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            let used = metadata.modified()?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.starts_with(WRITING) && used.elapsed().is_ok_and(|age| age > FORGOTTEN) {
                fs::remove_file(&path)?;
            }
            let (digits, kind) = name.split_once('.').unwrap_or((name, ""));
            let Some(digest) = Digest::of_digits(digits) else {
                continue;
            };
            sizes += metadata.len();
            match kind {
                "json" => {
                    let read = self.verified(&path, digest, MANIFEST_MAX as u64);
                    let component = read.and_then(|bytes| component(&bytes).ok()).map(|layer| layer.digest);
                    manifests.push(Kept {
                        digest,
                        component,
                        used,
                    });
                }
                "wasm" => {
                    components.insert(digest);
                }
                _ => {}
            }
        }
        manifests.sort_by_key(|kept| kept.used);
        let mut named: Vec<_> = manifests.iter().filter_map(|kept| kept.component).collect();
        let mut gone = Vec::new();
        for kept in manifests {
            if sizes <= self.bytes {
                break;
            }
            if in_use.contains(&kept.digest) || kept.digest == new {
                continue;
            }
            sizes -= remove(&self.manifest(kept.digest))?;
            if let Some(component) = kept.component
                && let Some(place) = named.iter().position(|named| *named == component)
            {
                named.swap_remove(place);
                if !named.contains(&component) {
                    sizes -= remove(&self.component(component))?;
                    gone.push(component);
                }
            }
        }
        // Another host may be about to write the manifest of one.
        for orphan in components
            .iter()
            .filter(|component| !named.contains(component) && !gone.contains(component))
        {
            let path = self.component(*orphan);
            let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > FORGOTTEN)) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Removes a file, and returns how long it was.
fn remove(path: &Path) -> io::Result<u64> {
    let bytes = fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0);
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(component: &[u8]) -> Pulled {
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"","size":0}},
            "layers":[{{"mediaType":"application/wasm","digest":"{}","size":{}}}]}}"#,
            Digest::of(component),
            component.len()
        );
        Pulled {
            manifest: manifest.into_bytes(),
            component: component.to_vec(),
        }
    }

    fn digest(pulled: &Pulled) -> Digest {
        Digest::of(&pulled.manifest)
    }

    fn age(cache: &Cache, pulled: &Pulled, seconds: u64) {
        let file = File::options()
            .append(true)
            .open(cache.manifest(digest(pulled)))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn what_was_kept_is_read_by_the_digest_of_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(&dir.path().join("a/b"), 1 << 20);
        let one = pulled(b"one");
        assert_eq!(cache.read(digest(&one), 100), None);
        cache.keep(&one, &HashSet::new()).unwrap();
        assert_eq!(cache.read(digest(&one), 100).as_deref(), Some(&b"one"[..]));
        assert_eq!(cache.read(digest(&one), 2), None, "longer than it may be");
        assert_eq!(cache.read(Digest::of(b"one"), 100), None);
    }

    // Shows P6: whatever is in the directory, only what has its digest is served.
    #[test]
    fn what_is_not_what_its_name_says_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path(), 1 << 20);
        let one = pulled(b"one");
        for damaged in ["two", "on", "", "one more"] {
            cache.keep(&one, &HashSet::new()).unwrap();
            let path = cache.component(Digest::of(b"one"));
            fs::write(&path, damaged).unwrap();
            assert_eq!(cache.read(digest(&one), 100), None, "{damaged}");
            assert!(!path.exists());
        }
        cache.keep(&one, &HashSet::new()).unwrap();
        let other = pulled(b"other").manifest;
        fs::write(cache.manifest(digest(&one)), other).unwrap();
        assert_eq!(cache.read(digest(&one), 100), None);
    }

    // Shows P6: the directory is bounded.
    #[test]
    fn the_least_recently_used_go_that_no_tenant_has() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..4u8).map(|n| pulled(&[n; 1000])).collect();
        let each = (all[0].manifest.len() + 1000) as u64;
        let cache = Cache::new(dir.path(), 2 * each + 10);
        let in_use = HashSet::from([digest(&all[0])]);
        for (n, one) in all.iter().enumerate().take(3) {
            cache.keep(one, &in_use).unwrap();
            age(&cache, one, 100 - n as u64);
        }
        let kept = |cache: &Cache| {
            all.iter()
                .map(|one| cache.read(digest(one), 1000).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&cache), [true, false, true, false], "the oldest is in use");
        for (n, one) in [0, 2].into_iter().enumerate() {
            age(&cache, &all[one], 100 - n as u64);
        }
        cache.read(digest(&all[0]), 1000).unwrap();
        cache.keep(&all[3], &HashSet::new()).unwrap();
        assert_eq!(kept(&cache), [true, false, false, true], "the first was read last");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_component_of_two_manifests_goes_with_the_second() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path(), 1500);
        let (one, mut two) = (pulled(&[1; 1000]), pulled(&[1; 1000]));
        two.manifest.push(b'\n');
        cache.keep(&one, &HashSet::new()).unwrap();
        age(&cache, &one, 100);
        cache.keep(&two, &HashSet::new()).unwrap();
        assert_eq!(cache.read(digest(&one), 1000), None);
        assert!(cache.read(digest(&two), 1000).is_some());
    }

    #[test]
    fn what_was_left_half_written_goes_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path(), 1 << 20);
        let left = dir.path().join(".new-x");
        fs::write(&left, "half").unwrap();
        let orphan = cache.component(Digest::of(b"orphan"));
        fs::write(&orphan, "orphan").unwrap();
        cache.keep(&pulled(b"one"), &HashSet::new()).unwrap();
        assert!(left.exists() && orphan.exists(), "somebody may be writing them");
        for path in [&left, &orphan] {
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 2 * FORGOTTEN).unwrap();
        }
        cache.keep(&pulled(b"two"), &HashSet::new()).unwrap();
        assert!(!left.exists() && !orphan.exists());
    }
}
