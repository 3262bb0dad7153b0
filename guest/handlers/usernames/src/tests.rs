//! The handler against an in-memory host.

use namelock_guest::fake::{World, request};

use super::*;

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn is_invalid(refusal: &Result<Registration, Rejection>, why: &str) -> bool {
    matches!(refusal, Err(Rejection::Invalid(text)) if text.contains(why))
}

#[test]
fn what_looks_like_a_registered_name_is_taken() {
    let world = World::new();
    let ann = world.register::<Usernames>(request("PayPal", "u1")).unwrap();
    assert_eq!(ann.name, "paypal");
    assert_eq!(ann.attributes, [pair("display", "PayPal")]);
    assert_eq!(ann.expires_ms, None);
    for alike in ["paypal", "paypa1", "ｐａｙｐａｌ"] {
        assert_eq!(
            world.register::<Usernames>(request(alike, "u2")),
            Err(Rejection::Taken),
            "{alike}"
        );
    }
    assert!(world.register::<Usernames>(request("paypals", "u2")).is_ok());
}

#[test]
fn look_alikes_meet_at_one_lock() {
    let world = World::new();
    world.hold_lock(&key("scope"));
    // All of it is Cyrillic, so its scripts are not mixed.
    let refusal = world.register::<Usernames>(request("ѕсоре", "u1"));
    assert!(matches!(refusal, Err(Rejection::Busy { .. })), "{refusal:?}");
}

#[test]
fn reserved_words_are_refused_in_every_disguise() {
    let world = World::new();
    let reserved = |name: &str| is_invalid(&world.register::<Usernames>(request(name, "u1")), "reserved");
    assert!(reserved("Admin") && reserved("r00t") && reserved("ｒｏｏｔ"));
    world.set("reserved", "tom, staff");
    assert!(reserved("Torn") && reserved("staff"));
    assert!(!reserved("admin"), "the setting replaces the default");
}

#[test]
fn the_bounds_of_a_length_are_settings() {
    let world = World::new();
    assert!(is_invalid(&world.register::<Usernames>(request("ab", "u1")), "3 to 30"));
    world.set("min_chars", 1);
    world.set("max_chars", 2);
    assert!(world.register::<Usernames>(request("ab", "u1")).is_ok());
    assert!(is_invalid(&world.register::<Usernames>(request("abc", "u1")), "1 to 2"));
}

#[test]
fn the_display_form_is_not_the_callers_to_set() {
    let world = World::new();
    let mut wish = request("Tom", "u1");
    wish.attributes = vec![pair("mail", "t@example.org"), pair("display", "root")];
    let saved = world.register::<Usernames>(wish).unwrap();
    assert_eq!(
        saved.attributes,
        [pair("display", "Tom"), pair("mail", "t@example.org")]
    );
    let change = |change| UpdateRequest {
        name: saved.name.clone(),
        owner: "u1".to_owned(),
        change,
    };
    let attributes = Some(vec![pair("display", "root"), pair("mail", "")]);
    let change_of_all = Change {
        attributes,
        owner: Some("u2".to_owned()),
        ..Change::default()
    };
    let changed = world.update::<Usernames>(change(change_of_all)).unwrap();
    assert_eq!(changed.attributes, [pair("display", "Tom"), pair("mail", "")]);
    assert_eq!(changed.owner, "u2");
    let refusal = world.update::<Usernames>(change(Change::default()));
    assert!(matches!(refusal, Err(UpdateRejection::Forbidden(_))), "{refusal:?}");
}

#[test]
fn a_change_without_attributes_leaves_them() {
    let world = World::new();
    let saved = world.register::<Usernames>(request("Tom", "u1")).unwrap();
    let request = UpdateRequest {
        name: "TOM".to_owned(),
        owner: "u1".to_owned(),
        change: Change::default(),
    };
    assert_eq!(world.update::<Usernames>(request).unwrap().attributes, saved.attributes);
}

#[test]
fn a_name_is_freed_by_any_spelling_and_by_its_key() {
    let world = World::new();
    for spelling in ["tom", "TOM", "torn"] {
        world.register::<Usernames>(request("Tom", "u1")).unwrap();
        let refusal = world.free::<Usernames>(spelling, "u2");
        assert!(matches!(refusal, Err(Rejection::Forbidden(_))), "{refusal:?}");
        assert_eq!(world.free::<Usernames>(spelling, "u1"), Ok(()));
        assert_eq!(world.registrations(), [], "{spelling}");
    }
}
