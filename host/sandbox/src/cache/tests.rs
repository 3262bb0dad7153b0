use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn config(dir: &Path) -> CacheConfig {
    CacheConfig {
        dir: dir.join("cache"),
        files: 2,
    }
}

fn open(dir: &TempDir) -> Cache {
    Cache::open(&config(dir.path()), 7, 100).unwrap()
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
    assert_eq!(open(&dir).get(digest), None);
    open(&dir).put(digest, b"code");
    assert_eq!(open(&dir).get(digest).unwrap(), b"code");
    assert_eq!(entries(&dir).len(), 1, "nothing else is left");
}

#[test]
fn another_component_and_another_compiler_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).put(Digest::of(b"wasm"), b"code");
    assert_eq!(open(&dir).get(Digest::of(b"other")), None);
    let other = Cache::open(&config(dir.path()), 8, 100).unwrap();
    assert_eq!(other.get(Digest::of(b"wasm")), None);
}

#[test]
fn an_entry_that_was_tampered_with_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Digest::of(b"wasm"), Digest::of(b"other"));
    let check = |what: &str, tamper: &dyn Fn(&Path)| {
        let cache = open(&dir);
        cache.put(ours, b"code");
        tamper(&cache.dir.join(cache.name(ours)));
        assert_eq!(cache.get(ours), None, "{what}");
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
        bytes[33] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    check("far too long", &|path| fs::write(path, vec![0; 1000]).unwrap());
    check("another's", &|path| {
        let cache = open(&dir);
        cache.put(other, b"evil");
        fs::rename(cache.dir.join(cache.name(other)), path).unwrap();
    });
    check("by another key", &|path| {
        let elsewhere = tempfile::tempdir().unwrap();
        let cache = open(&elsewhere);
        cache.put(ours, b"evil");
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
    cache.put(digests[0], b"a");
    cache.put(digests[1], b"b");
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
    cache.put(digests[2], b"c");
    let left = digests.map(|digest| cache.get(digest).is_some());
    assert_eq!((left, abandoned.exists()), ([true, false, true], false));
}
