//! What is served after versions were put and taken back.

use tempfile::TempDir;

use super::*;

fn open(keep: usize) -> (TempDir, Versions) {
    let dir = tempfile::tempdir().unwrap();
    let config = VersionsConfig {
        dir: dir.path().join("versions"),
        keep,
    };
    (dir, Versions::open(config).unwrap())
}

fn wasm(text: &str) -> Wasm {
    Wasm::new(text.as_bytes().to_vec())
}

fn digest(text: &str) -> Digest {
    wasm(text).digest()
}

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

/// The components of `texts` that are on disk.
fn on_disk<'a>(versions: &Versions, texts: &[&'a str]) -> Vec<&'a str> {
    let there = |text: &&&str| versions.read(digest(text)).is_some();
    texts.iter().filter(there).copied().collect()
}

fn put(versions: &Versions, texts: &[&str]) {
    for text in texts {
        versions.keep(&tenant("t"), &wasm(text), Standing::Good);
    }
}

/// What is served where the directory has this.
fn chosen(versions: &Versions, found: Digest) -> Digest {
    let taken_back = versions.taken_back(&tenant("t"), found);
    taken_back.map_or(found, |(_, instead)| instead.unwrap())
}

#[test]
fn what_was_taken_back_is_not_served_and_anything_else_is() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b"]);
    assert_eq!(chosen(&versions, digest("b")), digest("b"));
    assert_eq!(versions.roll_back(&t, Some(digest("b")), None).unwrap().0, digest("a"));
    assert_eq!(chosen(&versions, digest("b")), digest("a"));
    assert_eq!(chosen(&versions, digest("new")), digest("new"));
    assert!(!versions.is_good(&t, digest("b")) && versions.is_good(&t, digest("a")));
    // Further back there is nothing.
    let error = versions.roll_back(&t, Some(digest("a")), None).unwrap_err();
    assert!(matches!(error, RollbackError::NothingBefore), "{error}");
    // And forward again, by name.
    versions.roll_back(&t, Some(digest("a")), Some(digest("b"))).unwrap();
    assert_eq!(chosen(&versions, digest("b")), digest("b"));
}

#[test]
fn going_back_twice_goes_back_two_versions() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b", "c"]);
    assert_eq!(versions.roll_back(&t, Some(digest("c")), None).unwrap().0, digest("b"));
    assert_eq!(versions.roll_back(&t, Some(digest("b")), None).unwrap().0, digest("a"));
    assert_eq!(chosen(&versions, digest("c")), digest("a"));
    // Whoever names one gets this one, and all that came later are taken back.
    versions.roll_back(&t, Some(digest("a")), Some(digest("b"))).unwrap();
    assert_eq!(chosen(&versions, digest("c")), digest("b"));
}

#[test]
fn as_many_are_kept_as_the_host_says_and_the_last_good_one_stays() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b", "c", "d"]);
    assert_eq!(on_disk(&versions, &["a", "b", "c", "d"]), ["b", "c", "d"]);
    versions.roll_back(&t, Some(digest("d")), Some(digest("b"))).unwrap();
    for text in ["e", "f", "g"] {
        versions.keep(&t, &wasm(text), Standing::Tried);
        versions.set(&t, digest(text), Standing::TakenBack("it failed".to_owned()));
        assert_eq!(versions.instead(&t), Some(digest("b")), "after {text}");
    }
    assert_eq!(
        on_disk(&versions, &["b", "c", "d", "e", "f", "g"]),
        ["b", "e", "f", "g"]
    );
    // What was taken back costs no good one its place.
    put(&versions, &["h", "i"]);
    assert_eq!(on_disk(&versions, &["b", "h", "i"]), ["b", "h", "i"]);
}

#[test]
fn what_was_taken_back_is_remembered_however_few_are_kept() {
    for keep in [0, 1] {
        let (_dir, versions) = open(keep);
        let t = tenant("t");
        put(&versions, &["a"]);
        versions.keep(&t, &wasm("b"), Standing::Tried);
        versions.set(&t, digest("b"), Standing::TakenBack("it failed".to_owned()));
        let instead = (keep > 0).then(|| digest("a"));
        let taken_back = versions.taken_back(&t, digest("b"));
        assert_eq!(taken_back, Some(("it failed".to_owned(), instead)), "keep {keep}");
    }
}

#[test]
fn a_rollback_is_undone_and_nothing_was_taken_back() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b", "c"]);
    let before = versions.list(&t);
    let (_, undo) = versions.roll_back(&t, Some(digest("c")), Some(digest("a"))).unwrap();
    assert_ne!(versions.list(&t), before);
    versions.undo(&t, undo);
    assert_eq!(versions.list(&t), before);
}

#[test]
fn the_way_back_from_a_version_that_could_not_be_kept_is_the_newest_that_was() {
    let (_dir, versions) = open(3);
    put(&versions, &["a", "b"]);
    let unkept = digest("c");
    assert_eq!(
        versions.roll_back(&tenant("t"), Some(unkept), None).unwrap().0,
        digest("b")
    );
    assert_eq!(chosen(&versions, unkept), digest("b"));
}

#[test]
fn the_versions_of_a_tenant_that_was_removed_serve_in_place_of_nothing() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b"]);
    versions.end(None, &BTreeSet::new());
    assert_eq!(versions.instead(&t), None);
    put(&versions, &["c"]);
    assert_eq!(versions.instead(&t), Some(digest("c")));
    assert_eq!(versions.roll_back(&t, Some(digest("c")), None).unwrap().0, digest("b"));
    // One that is there is not ended, and one that was removed long ago is forgotten.
    versions.end(None, &BTreeSet::from([t.clone()]));
    assert_eq!(versions.instead(&t), Some(digest("b")));
    versions.end(Some(&BTreeSet::from([t.clone()])), &BTreeSet::new());
    let history = fs::File::options().write(true).open(versions.history_path(&t));
    let long_ago = SystemTime::now() - 2 * FORGOTTEN_AFTER;
    history.unwrap().set_modified(long_ago).unwrap();
    versions.end(None, &BTreeSet::new());
    assert!(!versions.history_path(&t).exists());
    assert_eq!(on_disk(&versions, &["a", "b", "c"]), [""; 0]);
}

#[test]
fn a_trial_goes_on_where_it_was() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a"]);
    versions.keep(&t, &wasm("b"), Standing::Tried);
    assert!(versions.tried_for(&t, digest("b")).is_some());
    assert_eq!(versions.tried_for(&t, digest("a")), None);
    // Another one was put in between.
    put(&versions, &["a"]);
    assert_eq!(versions.tried_for(&t, digest("b")), None);
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let (dir, versions) = open(3);
    put(&versions, &["a"]);
    fs::remove_dir_all(dir.path().join("versions")).unwrap();
    put(&versions, &["b", "c"]);
    assert_eq!(on_disk(&versions, &["a", "b", "c"]), ["b", "c"]);
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    let made = std::process::Command::new("mkfifo")
        .arg(versions.history_path(&t))
        .status();
    assert!(made.unwrap().success());
    assert!(versions.list(&t).is_empty());
}

#[test]
fn a_component_goes_when_no_tenant_keeps_it() {
    let (_dir, versions) = open(1);
    versions.keep(&tenant("t"), &wasm("a"), Standing::Good);
    versions.keep(&tenant("u"), &wasm("a"), Standing::Good);
    versions.keep(&tenant("t"), &wasm("b"), Standing::Good);
    assert_eq!(on_disk(&versions, &["a", "b"]), ["a", "b"]);
    versions.keep(&tenant("u"), &wasm("b"), Standing::Good);
    assert_eq!(on_disk(&versions, &["a", "b"]), ["b"]);
}

#[test]
fn what_is_not_what_its_name_says_is_not_read_and_nothing_is_taken_back_for_it() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b"]);
    fs::write(versions.component(digest("a")), "forged").unwrap();
    assert!(versions.read(digest("a")).is_none());
    let error = versions.roll_back(&t, Some(digest("b")), None).unwrap_err();
    assert!(matches!(error, RollbackError::Unknown(_)), "{error}");
    assert!(versions.is_good(&t, digest("b")));
}

#[test]
fn a_history_that_cannot_be_read_is_begun_anew() {
    let (_dir, versions) = open(3);
    let t = tenant("t");
    put(&versions, &["a", "b"]);
    for broken in ["", "{", "[1]"] {
        fs::write(versions.history_path(&t), broken).unwrap();
        assert!(versions.list(&t).is_empty(), "{broken:?}");
        assert_eq!(chosen(&versions, digest("b")), digest("b"));
    }
    versions.keep(&t, &wasm("b"), Standing::Good);
    assert_eq!(versions.list(&t).len(), 1);
}

#[test]
fn a_host_that_keeps_none_writes_nothing() {
    let (dir, versions) = open(0);
    let t = tenant("t");
    put(&versions, &["a", "b"]);
    versions.set(&t, digest("a"), Standing::Good);
    let error = versions.roll_back(&t, None, None).unwrap_err();
    assert!(matches!(error, RollbackError::NoneKept), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
