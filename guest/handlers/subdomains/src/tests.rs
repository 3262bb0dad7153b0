//! The handler against an in-memory host.

use namelock_guest::fake::{World, request};

use super::*;

#[test]
fn every_spelling_of_a_label_is_one_name() {
    let world = World::new();
    let label = world.register::<Subdomains>(request("Bücher", "u1")).unwrap();
    assert_eq!(label.name, "xn--bcher-kva");
    assert_eq!(label.attributes, [("u_label".to_owned(), "bücher".to_owned())]);
    assert_eq!(label.expires_ms, None);
    for spelling in ["BÜCHER", "bu\u{308}cher", "xn--bcher-kva"] {
        assert_eq!(
            world.register::<Subdomains>(request(spelling, "u2")),
            Err(Rejection::Taken),
            "{spelling}"
        );
    }
}

#[test]
fn a_reserved_label_is_refused_in_either_form() {
    let world = World::new();
    let reserved = |name: &str| {
        let refusal = Rejection::Invalid("this subdomain is reserved".to_owned());
        world.register::<Subdomains>(request(name, "u1")) == Err(refusal)
    };
    assert!(reserved("WWW") && reserved("mail"));
    world.set("reserved", "bücher, intern");
    assert!(reserved("xn--bcher-kva") && reserved("INTERN"));
    assert!(!reserved("www"), "the setting replaces the default");
}

#[test]
fn a_reserved_word_that_is_no_label_refuses_every_request() {
    let world = World::new();
    world.set("reserved", "www, my_mail");
    let refusal = world.register::<Subdomains>(request("shop", "u1"));
    assert!(
        matches!(&refusal, Err(Rejection::Unavailable(why)) if why.contains("`reserved`")),
        "{refusal:?}"
    );
    assert_eq!(world.registrations(), []);
}

#[test]
fn the_form_to_show_is_not_the_callers_to_set() {
    let world = World::new();
    let mut wish = request("shop", "u1");
    wish.attributes = vec![("u_label".to_owned(), "bank".to_owned())];
    let saved = world.register::<Subdomains>(wish).unwrap();
    assert_eq!(saved.attributes, [("u_label".to_owned(), "shop".to_owned())]);
}

#[test]
fn only_the_owner_frees_a_label() {
    let world = World::new();
    world.register::<Subdomains>(request("bücher", "u1")).unwrap();
    let refusal = world.free::<Subdomains>("bücher", "u2");
    assert!(matches!(refusal, Err(Rejection::Forbidden(_))), "{refusal:?}");
    assert_eq!(world.free::<Subdomains>("XN--bcher-kva", "u1"), Ok(()));
    assert_eq!(world.registrations(), []);
    assert_eq!(world.free::<Subdomains>("bücher", "u1"), Ok(()));
}

#[test]
fn the_lock_is_on_the_form_of_dns() {
    let world = World::new();
    world.hold_lock("xn--bcher-kva");
    let busy = world.register::<Subdomains>(request("bücher", "u1"));
    assert!(matches!(busy, Err(Rejection::Busy { .. })), "{busy:?}");
}
