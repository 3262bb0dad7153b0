use namelock_account::Budgets;

use super::*;

fn pulls(at_once: usize) -> Pulls {
    Pulls::new(&OciConfig {
        pulls: at_once,
        ..OciConfig::default()
    })
}

fn reference(named: &str) -> Reference {
    format!("oci://{named}@sha256:{}", "0".repeat(64)).parse().unwrap()
}

fn tenant(id: &str) -> Waiting {
    let account = Account::new(id, &Budgets::default());
    (id.parse().unwrap(), Arc::new(account))
}

fn want(pulls: &Pulls, named: &str, id: &str) -> Option<String> {
    let refused = pulls.want(&reference(named), 10, tenant(id));
    refused.map(|refused| refused.why.reason.to_string())
}

/// What is pulled next, without its digest.
fn take(pulls: &Pulls) -> Option<String> {
    let next = pulls.take(|_, _| true).ok()?;
    let shown = next.reference.to_string();
    Some(shown.split(['@']).next()?.trim_start_matches("oci://").to_owned())
}

fn fail(pulls: &Pulls, named: &str, seconds: u64) -> (usize, Duration) {
    let error = PullError::TakesLong(Duration::from_secs(seconds));
    let ((_, told), pause) = pulls.failed(&reference(named), error);
    (told.len(), pause)
}

/// Lets the pause before the next try pass.
fn pass(pulls: &Pulls) {
    for waits in pulls.wanted.lock().values_mut() {
        waits.not_before = Instant::now();
    }
}

#[test]
fn what_several_tenants_have_is_pulled_once() {
    let pulls = pulls(4);
    for id in ["a", "b", "a"] {
        assert_eq!(want(&pulls, "r/x", id), None);
    }
    assert_eq!(take(&pulls).as_deref(), Some("r/x"));
    assert_eq!(want(&pulls, "r/x", "c"), None, "read again while it is pulled");
    assert_eq!(take(&pulls), None);
    let mut tenants: Vec<_> = pulls.pulled(&reference("r/x")).into_iter().map(|(id, _)| id).collect();
    tenants.sort();
    assert_eq!(tenants, ["a", "b", "c"].map(|id| id.parse().unwrap()));
    assert_eq!(take(&pulls), None);
}

// Shows P6: a registry that is slow keeps nobody out whose component is in another one.
#[test]
fn one_registry_leaves_room_for_another() {
    let pulls = pulls(4);
    for n in 0..6 {
        want(&pulls, &format!("slow/{n}"), &format!("s{n}"));
    }
    assert!(take(&pulls).is_some() && take(&pulls).is_some());
    assert_eq!(take(&pulls), None);
    want(&pulls, "other/x", "o");
    assert_eq!(take(&pulls).as_deref(), Some("other/x"));
}

// Shows P6: what fails again and again comes after all that was not tried.
#[test]
fn what_has_failed_waits_longer_each_time_and_behind_the_others() {
    let pulls = pulls(2);
    want(&pulls, "bad/x", "a");
    for (failures, pause) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        assert_eq!(take(&pulls).as_deref(), Some("bad/x"));
        let told = usize::from(failures == 0);
        assert_eq!(
            fail(&pulls, "bad/x", 1),
            (told, Duration::from_secs(pause)),
            "nobody is told twice the same"
        );
        assert_eq!(take(&pulls), None);
        pass(&pulls);
    }
    want(&pulls, "good/x", "b");
    assert_eq!(take(&pulls).as_deref(), Some("good/x"));
    assert_eq!(take(&pulls).as_deref(), Some("bad/x"));
    assert_eq!(fail(&pulls, "bad/x", 2).0, 1, "another reason");
}

#[test]
fn a_tenant_that_is_read_again_hears_why_and_has_it_tried_soon() {
    let pulls = pulls(2);
    want(&pulls, "bad/x", "a");
    for _ in 0..3 {
        take(&pulls).unwrap();
        fail(&pulls, "bad/x", 1);
        pass(&pulls);
    }
    take(&pulls).unwrap();
    fail(&pulls, "bad/x", 1);
    let due = |pulls: &Pulls| pulls.take(|_, _| true).err().flatten().unwrap();
    assert!(due(&pulls) > Instant::now() + 2 * PAUSE_MIN);
    let why = want(&pulls, "bad/x", "a").unwrap();
    assert!(
        why.starts_with("cannot pull oci://bad/x@sha256:0") && why.contains("oci.timeout"),
        "{why}"
    );
    assert!(due(&pulls) <= Instant::now() + PAUSE_MIN);
}

// Shows P6: a tenant whose directory changes for ever has one component pulled.
#[test]
fn a_tenant_waits_for_the_component_that_it_had_last() {
    let pulls = pulls(8);
    for n in 0..100 {
        want(&pulls, &format!("r{n}/x"), "a");
    }
    assert_eq!(pulls.wanted.lock().len(), 1);
    assert_eq!(take(&pulls).as_deref(), Some("r99/x"));
    want(&pulls, "r/y", "a");
    assert_eq!(pulls.pulled(&reference("r99/x")).len(), 0, "it has another one now");
    assert!(pulls.take(|_, _| false).is_err(), "nobody wants it any more");
    assert!(pulls.wanted.lock().is_empty());
}

#[test]
fn an_operator_sees_what_is_pulled_before_what_waits() {
    let pulls = pulls(2);
    want(&pulls, "r/x", "a");
    want(&pulls, "s/y", "b");
    take(&pulls).unwrap();
    let list = pulls.list();
    let stages: Vec<_> = list.iter().map(|loading| loading.stage).collect();
    assert_eq!(stages, [Stage::Pulling, Stage::WaitsForRegistry]);
}
