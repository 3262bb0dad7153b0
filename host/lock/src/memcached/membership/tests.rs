use super::*;

fn fleet(name: &str, config: &LockConfig) -> Fleet {
    Fleet::open(&MemcachedUrl::plain([&format!("{name}:1"), "shared:1"]), config).unwrap()
}

#[test]
fn a_host_says_what_differs() {
    let config = LockConfig::default();
    let own = fleet("X", &config);
    assert_eq!(own.differs(&own.first_value()), None);
    let other = fleet("Y", &config).first_value();
    let reason = own.differs(&other).unwrap();
    assert!(
        reason.contains("are Y:1,shared:1, this host's X:1,shared:1") && reason.contains("same lock URL"),
        "{reason}"
    );
    let longer = LockConfig {
        lease: Duration::from_secs(20),
        ..config
    };
    let reason = own.differs(&fleet("X", &longer).first_value()).unwrap();
    assert!(
        reason.contains("lease=20000ms") && reason.contains("lease=10000ms") && reason.contains("lock.lease"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_value_with_the_greatest_base_is_that_of_the_fleet() {
    let config = LockConfig::default();
    let fleet = Fleet::open(&MemcachedUrl::plain(["a:1", "b:1"]), &config).unwrap();
    let first = fleet.first_value();
    let later = Value {
        base: 7,
        ..first.clone()
    };
    fleet.record("a:1", &later, Duration::ZERO);
    fleet.record("b:1", &first, Duration::ZERO);
    assert_eq!(fleet.newest("b:1"), Some(later.clone()));
    fleet.record_refusal("a:1", Some(later.clone()), "it differs");
    assert_eq!(fleet.newest("b:1"), Some(later));
    assert_eq!(fleet.newest("a:1"), Some(first), "what it had itself was refused");
    assert_eq!(fleet.refusal().unwrap().reason, "it differs");
    fleet.record_asked("a:1");
    fleet.record_asked("a:1");
    assert_eq!(*fleet.unasked.borrow(), 1);
    fleet.record_asked("b:1");
    fleet.asked().await;
}
