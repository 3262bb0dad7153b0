//! The handler against an in-memory host.

use namelock_guest::fake::{Answers, World, request};

use super::*;

/// Every code with one random character after `prefix`.
fn all_short(prefix: &str) -> Vec<Code> {
    (0..32).filter_map(|byte| Code::of(prefix, &[byte])).collect()
}

#[test]
fn a_code_is_made_up_when_asked() {
    let world = World::new();
    let one = world.register::<CampaignCodes>(request("new", "shop")).unwrap();
    let other = world.register::<CampaignCodes>(request("new", "shop")).unwrap();
    assert_ne!(one.name, other.name);
    for code in [&one, &other] {
        assert_eq!(code.name.len(), 9);
        assert!(Code::parse(&code.name).is_ok(), "{code:?}");
        assert_eq!(code.owner, "shop");
    }
    let summer = world.register::<CampaignCodes>(request("summer-*", "shop")).unwrap();
    assert!(
        summer.name.starts_with("SUMMER") && summer.name.len() == 15,
        "{summer:?}"
    );
    assert_eq!(world.registrations().len(), 3);
}

#[test]
fn the_last_free_code_is_found_and_then_there_is_none() {
    let world = World::new();
    world.set("random_chars", 1);
    world.set("attempts", 32);
    let codes = all_short("A");
    for code in &codes[1..] {
        world.add(code.as_str(), "somebody", None, &[]);
    }
    // Drawn again and again until it comes: each request has 32 draws, and one of about 28 is the right one.
    let found = (0..100).find_map(|_| world.register::<CampaignCodes>(request("A*", "shop")).ok());
    assert_eq!(found.unwrap().name, codes[0].as_str());
    let refusal = world.register::<CampaignCodes>(request("A*", "shop"));
    assert!(
        matches!(&refusal, Err(Rejection::Unavailable(why)) if why.contains("32 attempts")),
        "{refusal:?}"
    );
    assert_eq!(world.registrations().len(), codes.len());
}

#[test]
fn a_code_that_somebody_is_at_work_on_is_passed_over() {
    let world = World::new();
    world.set("random_chars", 1);
    let codes = all_short("A");
    for code in &codes {
        world.hold_lock(code.as_str());
    }
    let refusal = world.register::<CampaignCodes>(request("A*", "shop"));
    assert!(
        matches!(&refusal, Err(Rejection::Unavailable(why)) if why.contains("8 attempts")),
        "{refusal:?}"
    );
    for code in &codes {
        world.release_lock(code.as_str());
    }
    assert!(world.register::<CampaignCodes>(request("A*", "shop")).is_ok());
}

#[test]
fn what_another_code_would_not_mend_ends_the_draw() {
    let world = World::new();
    world.set_names_database(Answers::No);
    let refusal = world.register::<CampaignCodes>(request("new", "shop"));
    let expected = "the names database does not answer".to_owned();
    assert_eq!(refusal, Err(Rejection::Unavailable(expected)));
}

#[test]
fn a_code_that_is_given_is_registered_once() {
    let world = World::new();
    let code = world
        .register::<CampaignCodes>(request("a1-2425g-abc1234002-m", "shop"))
        .unwrap();
    assert_eq!(code.name, "A12425GABC1234002M");
    assert_eq!(
        world.register::<CampaignCodes>(request("A12425GABC1234002M", "other")),
        Err(Rejection::Taken)
    );
    let mistyped = world.register::<CampaignCodes>(request("A12425GABC1234003M", "shop"));
    assert_eq!(mistyped, Err(CodeError::Check.into()));
}

#[test]
fn a_setting_out_of_its_range_refuses_what_needs_it() {
    let world = World::new();
    for (key, value) in [("random_chars", "0"), ("random_chars", "33"), ("attempts", "many")] {
        world.set("random_chars", 8);
        world.set(key, value);
        let refusal = world.register::<CampaignCodes>(request("new", "shop"));
        assert!(
            matches!(&refusal, Err(Rejection::Unavailable(why)) if why.contains(key)),
            "{key} {value}: {refusal:?}"
        );
    }
}

#[test]
fn a_beginning_that_leaves_no_room_is_refused() {
    let world = World::new();
    let check = |prefix: usize| {
        let name = format!("{}*", "A".repeat(prefix));
        world.register::<CampaignCodes>(request(&name, "shop"))
    };
    assert_eq!(check(55).unwrap().name.len(), CODE_CHARS_MAX);
    assert_eq!(check(56), Err(CodeError::Length { chars: 65 }.into()));
}

#[test]
fn only_the_owner_frees_a_code() {
    let world = World::new();
    let code = world.register::<CampaignCodes>(request("new", "shop")).unwrap();
    let refusal = world.free::<CampaignCodes>(&code.name, "other");
    assert!(matches!(refusal, Err(Rejection::Forbidden(_))), "{refusal:?}");
    assert_eq!(world.free::<CampaignCodes>(&code.name.to_lowercase(), "shop"), Ok(()));
    assert_eq!(world.registrations(), []);
}
