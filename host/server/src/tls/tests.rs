use std::fs;

use namelock_test_servers::{Authority, Identity};
use rustls::pki_types::pem::PemObject;

use super::*;

fn files(dir: &tempfile::TempDir, identity: &Identity) -> TlsFiles {
    let put = |name: &str, contents: &str| {
        let path = dir.path().join(name);
        fs::write(&path, contents).unwrap();
        Some(path)
    };
    TlsFiles {
        certificate: put("crt", &identity.certificate),
        key: put("key", &identity.key),
        client_roots: None,
    }
}

#[test]
fn a_listener_without_files_has_no_tls() {
    assert!(Tls::open("http", &TlsFiles::default()).unwrap().is_none());
}

#[test]
fn a_key_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Authority::new().sign(&["localhost"]);
    let tls = Tls::open("http", &files(&dir, &identity)).unwrap().unwrap();
    let shown = format!("{tls:?}");
    let secret = identity.key.lines().nth(1).unwrap();
    assert!(shown.contains("Contents") && !shown.contains(secret), "{shown}");
    let bytes = format!("{:?}", &identity.key.as_bytes()[..16]);
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn contents_are_taken_up_only_if_they_can_be_served_with() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (before, after) = (authority.sign(&["localhost"]), authority.sign(&["localhost"]));
    let files = files(&dir, &before);
    let tls = Tls::open("http", &files).unwrap().unwrap();
    let (first, _) = tls.current();
    let take_up = || files.read().and_then(|contents| tls.take_up(contents));
    take_up().unwrap();
    assert!(Arc::ptr_eq(&first, &tls.current().0), "nothing has changed");
    fs::write(dir.path().join("key"), &after.key).unwrap();
    assert!(matches!(take_up(), Err(TlsError::Unusable { .. })));
    fs::write(dir.path().join("crt"), "").unwrap();
    assert!(matches!(take_up(), Err(TlsError::Empty { .. })));
    assert!(Arc::ptr_eq(&first, &tls.current().0));
    fs::write(dir.path().join("crt"), &after.certificate).unwrap();
    take_up().unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.current().0));
}

#[test]
fn an_end_is_warned_of_from_two_weeks_before_on() {
    let dir = tempfile::tempdir().unwrap();
    // A certificate has whole seconds.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let (authority, second) = (Authority::new(), Duration::from_secs(1));
    let tls = Tls::open("http", &files(&dir, &authority.sign_until(&["localhost"], end)))
        .unwrap()
        .unwrap();
    let ends = tls.end().unwrap();
    assert_eq!(ends.unix_seconds(), 2_000_000_000);
    let soon = end - certificate::SOON;
    assert_eq!(tls.warning(SystemTime::UNIX_EPOCH), None);
    assert_eq!(tls.warning(soon), None);
    assert_eq!(tls.warning(soon + second), Some(Warning::EndsSoon(ends)));
    assert_eq!(tls.warning(end), Some(Warning::EndsSoon(ends)));
    assert_eq!(tls.warning(end + second), Some(Warning::HasEnded(ends)));
    let said = Warning::EndsSoon(ends).to_string();
    assert!(said.contains("2033-05-18T03:33:20Z"), "{said}");
}

#[test]
fn what_ends_first_of_what_is_shown_counts() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let end = |days: u32| SystemTime::UNIX_EPOCH + Duration::from_hours(24) * (20_000 + days);
    let mut identity = authority.sign_until(&["localhost"], end(9));
    identity.certificate += &authority.sign_until(&["between"], end(5)).certificate;
    let tls = Tls::open("http", &files(&dir, &identity)).unwrap().unwrap();
    assert_eq!(tls.end().unwrap().unix_seconds(), 20_005 * 24 * 3600);
}

#[test]
fn whoever_shows_a_certificate_is_named_on_one_short_line() {
    let authority = Authority::new();
    let name = |identity: &Identity| {
        let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        name_of(&der)
    };
    let ann = name(&authority.sign_for("ann"));
    let digest = ann
        .strip_prefix("ann (certificate ")
        .and_then(|rest| rest.strip_suffix(')'));
    assert!(
        digest.is_some_and(|digest| digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit())),
        "{ann}"
    );
    assert_ne!(
        ann,
        name(&authority.sign_for("ann")),
        "another certificate of the same name"
    );
    let nasty = name(&authority.sign_for(&format!("a\nb \u{202e}\u{1b}[2J{}", "x".repeat(500))));
    assert!(nasty.starts_with("a b \\u{202e} [2Jxxx"), "{nasty}");
    assert!(nasty.len() < 100 && !nasty.contains(char::is_control), "{nasty}");
    let unreadable = name_of(&CertificateDer::from(vec![0]));
    assert!(unreadable.starts_with("(certificate "), "{unreadable}");
}

#[test]
fn new_authorities_end_what_those_before_have_vouched_for_and_a_new_certificate_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let roots = dir.path().join("roots");
    fs::write(&roots, authority.certificate()).unwrap();
    let files = TlsFiles {
        client_roots: Some(roots.clone()),
        ..files(&dir, &authority.sign(&["localhost"]))
    };
    let tls = Tls::open("admin", &files).unwrap().unwrap();
    let (_, vouched) = tls.current();
    let take_up = || files.read().and_then(|contents| tls.take_up(contents)).unwrap();
    let renewed = authority.sign(&["localhost"]);
    fs::write(dir.path().join("crt"), &renewed.certificate).unwrap();
    fs::write(dir.path().join("key"), &renewed.key).unwrap();
    take_up();
    assert!(tls.accepts(vouched));
    fs::write(&roots, Authority::new().certificate()).unwrap();
    take_up();
    assert!(!tls.accepts(vouched));
}
