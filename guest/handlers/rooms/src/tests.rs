//! The handler against an in-memory host.

use namelock_guest::{
    Change, Lifetime,
    fake::{Answers, World, request},
};

use super::*;

const A_SECOND: Duration = Duration::from_secs(1);

fn change(name: &str, owner: &str, change: Change) -> UpdateRequest {
    UpdateRequest {
        name: name.to_owned(),
        owner: owner.to_owned(),
        change,
    }
}

fn to_bob() -> Change {
    Change {
        owner: Some("bob".to_owned()),
        ..Change::default()
    }
}

#[test]
fn the_first_to_ask_has_the_room_for_a_day() {
    let world = World::new();
    let room = world.register::<Rooms>(request("  Blue  ", "ann")).unwrap();
    assert_eq!((room.name.as_str(), room.owner.as_str()), ("blue", "ann"));
    assert_eq!(room.expires_ms, Some(world.now_ms() + 86_400_000));

    assert_eq!(world.register::<Rooms>(request("BLUE", "bob")), Err(Rejection::Taken));
    world.advance(A_DAY);
    assert_eq!(world.register::<Rooms>(request("BLUE", "bob")).unwrap().owner, "bob");
}

#[test]
fn the_wish_of_the_caller_wins_over_the_setting() {
    let world = World::new();
    world.set("default_lifetime_ms", 7_000);
    let by_setting = world.register::<Rooms>(request("blue", "ann")).unwrap();
    assert_eq!(by_setting.expires_ms, Some(world.now_ms() + 7_000));
    let wish = Request {
        lifetime: Some(A_SECOND),
        attributes: vec![("colour".to_owned(), "red".to_owned())],
        ..request("red", "ann")
    };
    let by_wish = world.register::<Rooms>(wish.clone()).unwrap();
    assert_eq!(by_wish.expires_ms, Some(world.now_ms() + 1_000));
    assert_eq!(by_wish.attributes, wish.attributes);
}

#[test]
fn a_setting_that_is_no_number_refuses_every_request() {
    let world = World::new();
    world.set("wait_ms", "soon");
    let refusal = world.register::<Rooms>(request("blue", "ann")).unwrap_err();
    assert!(matches!(refusal, Rejection::Unavailable(why) if why.contains("`wait_ms`")));
    assert_eq!(world.registrations(), []);
}

#[test]
fn an_invalid_name_is_refused_before_anything_is_locked() {
    let world = World::new();
    world.set_lock_service(Answers::No);
    let refusal = world.register::<Rooms>(request("blue!", "ann")).unwrap_err();
    assert!(matches!(refusal, Rejection::Invalid(_)), "{refusal:?}");
}

#[test]
fn a_busy_room_is_waited_for_as_long_as_the_setting_says() {
    let world = World::new();
    world.hold_lock_for("blue", A_SECOND);
    assert_eq!(
        world.register::<Rooms>(request("blue", "ann")),
        Err(Rejection::Busy { retry_after: A_SECOND })
    );
    world.set("wait_ms", 1_500);
    let began = world.now_ms();
    assert!(world.register::<Rooms>(request("blue", "ann")).is_ok());
    assert_eq!(world.now_ms() - began, 1_000);
}

#[test]
fn whoever_saves_between_the_look_and_the_save_has_the_room() {
    let world = World::new();
    let other = world.clone();
    world.before_next_write(move || drop(other.add("blue", "bob", None, &[])));
    assert_eq!(world.register::<Rooms>(request("blue", "ann")), Err(Rejection::Taken));
    assert_eq!(world.registration("blue").unwrap().owner, "bob");
}

#[test]
fn nothing_is_registered_when_a_service_is_down_or_the_lease_is_lost() {
    let check = |world: &World, expected: &str| {
        let refusal = Rooms::register(request("blue", "ann")).unwrap_err();
        assert_eq!(refusal, Rejection::Unavailable(expected.to_owned()));
        assert_eq!(world.registrations(), []);
        assert!(world.locks().is_empty());
    };
    let world = World::new();
    world.lose_leases_at_next_write();
    check(&world, "the lease on the name was lost");
    world.set_names_database(Answers::No);
    check(&world, "the names database does not answer");
    world.set_lock_service(Answers::No);
    check(&world, "the lock service cannot grant");
}

#[test]
fn only_the_owner_frees_a_room_and_a_free_room_may_be_freed() {
    let world = World::new();
    world.add("blue", "ann", None, &[]);
    let refusal = world.free::<Rooms>("Blue", "bob").unwrap_err();
    assert!(matches!(refusal, Rejection::Forbidden(_)), "{refusal:?}");
    assert_eq!(world.free::<Rooms>("Blue", "ann"), Ok(()));
    assert_eq!(world.registration("blue"), None);
    assert_eq!(world.free::<Rooms>("Blue", "ann"), Ok(()));
}

#[test]
fn a_room_that_is_held_for_its_last_owner_is_taken() {
    let world = World::new();
    world.set_hold(A_SECOND);
    world.register::<Rooms>(request("blue", "ann")).unwrap();
    world.free::<Rooms>("blue", "ann").unwrap();
    assert_eq!(world.register::<Rooms>(request("blue", "bob")), Err(Rejection::Taken));
    world.advance(A_SECOND);
    assert_eq!(world.register::<Rooms>(request("blue", "bob")).unwrap().owner, "bob");
}

#[test]
fn the_owner_prolongs_a_room_and_hands_it_over() {
    let world = World::new();
    world.add("blue", "ann", Some(A_SECOND), &[("colour", "blue")]);
    let longer = Change {
        lifetime: Some(Lifetime::FromNow(A_DAY)),
        ..to_bob()
    };
    let room = world.update::<Rooms>(change("Blue", "ann", longer)).unwrap();
    assert_eq!((room.owner.as_str(), room.attributes.len()), ("bob", 1));
    assert_eq!(room.expires_ms, Some(world.now_ms() + 86_400_000));

    let refusal = world.update::<Rooms>(change("Blue", "ann", to_bob())).unwrap_err();
    assert!(matches!(refusal, UpdateRejection::Forbidden(_)), "{refusal:?}");
}

#[test]
fn a_room_that_ends_before_the_change_is_missing() {
    let world = World::new();
    world.add("blue", "ann", Some(A_SECOND), &[]);
    let clock = world.clone();
    world.before_next_write(move || clock.advance(A_SECOND));
    let missing = world.update::<Rooms>(change("blue", "ann", to_bob()));
    assert_eq!(missing, Err(UpdateRejection::Missing));
    assert_eq!(
        world.update::<Rooms>(change("red", "ann", to_bob())),
        Err(UpdateRejection::Missing)
    );
}
