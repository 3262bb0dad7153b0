use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::directory::KEY_FILE;
use super::*;

fn config(dir: &Path) -> CacheConfig {
    CacheConfig {
        dir: dir.join("cache"),
        files: 2,
        bytes: 1000,
    }
}

fn open(dir: &TempDir) -> Cache {
    Cache::open(&config(dir.path()), 7, 100).unwrap()
}

fn put(cache: &Cache, digest: Digest, artifact: &[u8]) {
    cache.keep(&cache.write(digest, artifact).unwrap());
}

/// What is kept for a component, read as wasmtime maps it.
fn get(cache: &Cache, digest: Digest) -> Option<Vec<u8>> {
    let entry = cache.get(digest)?;
    let mut bytes = fs::read(entry.path()).unwrap();
    bytes.truncate(usize::try_from(entry.bytes).unwrap());
    Some(bytes)
}

fn entries(dir: &TempDir) -> Vec<PathBuf> {
    let all = fs::read_dir(dir.path().join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = all.filter(|path| !path.ends_with(KEY_FILE)).collect();
    all.sort();
    all
}

#[test]
fn an_entry_is_found_by_the_next_host() {
    let dir = tempfile::tempdir().unwrap();
    let digest = Digest::of(b"wasm");
    assert_eq!(get(&open(&dir), digest), None);
    put(&open(&dir), digest, b"code");
    assert_eq!(get(&open(&dir), digest).unwrap(), b"code");
    assert_eq!(entries(&dir).len(), 1, "nothing else is left");
}

#[test]
fn another_component_and_another_compiler_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(&dir), Digest::of(b"wasm"), b"code");
    assert_eq!(get(&open(&dir), Digest::of(b"other")), None);
    let other = Cache::open(&config(dir.path()), 8, 100).unwrap();
    assert_eq!(get(&other, Digest::of(b"wasm")), None);
}

#[test]
fn an_entry_that_was_tampered_with_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Digest::of(b"wasm"), Digest::of(b"other"));
    let check = |what: &str, tamper: &dyn Fn(&Path)| {
        let cache = open(&dir);
        put(&cache, ours, b"code");
        tamper(&cache.dir.join(cache.name(ours)));
        assert_eq!(get(&cache, ours), None, "{what}");
        assert_eq!(entries(&dir), Vec::<PathBuf>::new(), "{what}");
    };
    check("cut", &|path| fs::write(path, &fs::read(path).unwrap()[..34]).unwrap());
    check("shorter than its mac", &|path| fs::write(path, b"x").unwrap());
    check("empty", &|path| fs::write(path, b"").unwrap());
    check("longer", &|path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.push(0);
        fs::write(path, bytes).unwrap();
    });
    check("one bit", &|path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[1] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    check("far too long", &|path| fs::write(path, vec![0; 1000]).unwrap());
    check("another's", &|path| {
        let cache = open(&dir);
        put(&cache, other, b"evil");
        fs::rename(cache.dir.join(cache.name(other)), path).unwrap();
    });
    check("by another key", &|path| {
        let elsewhere = tempfile::tempdir().unwrap();
        let cache = open(&elsewhere);
        put(&cache, ours, b"evil");
        fs::copy(cache.dir.join(cache.name(ours)), path).unwrap();
    });
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let path = dir.path().join("cache");
    let refusal = || Cache::open(&config(dir.path()), 7, 100).unwrap_err().to_string();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(refusal().contains("is open to others (mode 755)"), "{}", refusal());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(path.join(KEY_FILE), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal().contains("key is open to others (mode 640)"), "{}", refusal());
    fs::remove_file(path.join(KEY_FILE)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", path.join(KEY_FILE)).unwrap();
    assert!(refusal().contains("key is not a file"), "{}", refusal());
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(refusal().contains("is not a directory"), "{}", refusal());
}

#[test]
fn a_key_of_another_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    for length in [0, 31, 33] {
        fs::write(dir.path().join("cache").join(KEY_FILE), vec![0; length]).unwrap();
        assert!(Cache::open(&config(dir.path()), 7, 100).is_err(), "{length}");
    }
}

#[test]
fn the_least_recently_used_entry_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir);
    let digests = [b"a", b"b", b"c"].map(|wasm| Digest::of(wasm));
    let age = |digest, seconds| {
        let file = File::options()
            .append(true)
            .open(cache.dir.join(cache.name(digest)))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    };
    put(&cache, digests[0], b"a");
    put(&cache, digests[1], b"b");
    age(digests[0], 200);
    age(digests[1], 100);
    assert!(cache.get(digests[0]).is_some());
    let abandoned = cache.dir.join("x.tmp");
    fs::write(&abandoned, "").unwrap();
    let hours = SystemTime::now() - Duration::from_secs(7200);
    File::options()
        .append(true)
        .open(&abandoned)
        .unwrap()
        .set_modified(hours)
        .unwrap();
    put(&cache, digests[2], b"c");
    let left = digests.map(|digest| cache.get(digest).is_some());
    assert_eq!((left, abandoned.exists()), ([true, false, true], false));
}

#[test]
fn an_entry_that_is_in_use_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir);
    let digests: Vec<_> = (0..5_u8).map(|number| Digest::of(&[number])).collect();
    let held: Vec<_> = digests.iter().map(|digest| cache.hold(*digest)).collect();
    for digest in &digests {
        put(&cache, *digest, b"code");
    }
    assert!(
        digests.iter().all(|digest| get(&cache, *digest).is_some()),
        "more than its two files"
    );
    drop(held);
    put(&cache, Digest::of(b"other"), b"code");
    assert_eq!(entries(&dir).len(), 2);
}

#[test]
fn the_bytes_of_all_entries_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig {
        files: 100,
        bytes: 250,
        ..config(dir.path())
    };
    let cache = Cache::open(&config, 7, 100).unwrap();
    for number in 0..10_u8 {
        put(&cache, Digest::of(&[number]), &[0; 60]);
    }
    // With the MAC of each.
    assert_eq!(entries(&dir).len(), 2);
}

#[test]
fn a_draft_that_is_not_kept_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, digest) = (open(&dir), Digest::of(b"wasm"));
    let draft = cache.write(digest, b"code").unwrap();
    assert_eq!(fs::read(draft.entry.path()).unwrap()[..4], *b"code");
    assert_eq!(get(&cache, digest), None);
    drop(draft);
    assert_eq!(entries(&dir), Vec::<PathBuf>::new());
}

#[test]
fn what_was_checked_is_what_is_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, digest) = (open(&dir), Digest::of(b"wasm"));
    put(&cache, digest, b"code");
    let entry = cache.get(digest).unwrap();
    let other = dir.path().join("other");
    fs::write(&other, "evil").unwrap();
    fs::rename(&other, cache.dir.join(cache.name(digest))).unwrap();
    assert_eq!(fs::read(entry.path()).unwrap()[..4], *b"code");
}

#[test]
fn a_directory_that_others_use_is_not_to_be_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let check = |mode: u32, expect: &str| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refusal = Cache::open(&config(dir.path()), 7, 100).unwrap_err().to_string();
        assert!(refusal.contains(expect), "{mode:o}: {refusal}");
    };
    drop(open(&dir));
    check(0o755, "then chmod 700");
    check(0o1777, "choose a directory of its own with --cache, as ");
    check(0o777, "choose a directory of its own");
    fs::write(path.join("letter"), "dear").unwrap();
    check(0o755, "choose a directory of its own");
}
