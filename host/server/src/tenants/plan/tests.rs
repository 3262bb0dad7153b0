use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::text::chain;

/// Reads the plan of tenant `acme` from this `tenant.toml`.
fn plan(file: &str) -> Result<Arc<Tenant>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tenant.toml");
    fs::write(&path, file).unwrap();
    let id = "acme".parse().unwrap();
    let shared = ["acme", "other"].map(|id| id.parse().unwrap());
    read(&id, &dir, &shared)
}

fn read(id: &TenantId, dir: &TempDir, shared_namespace: &[TenantId]) -> Result<Arc<Tenant>, String> {
    let path = dir.path().join("tenant.toml");
    let limits = Limits::default();
    let rules = Rules {
        defaults: &limits,
        max: &limits,
        hold_max: Duration::from_secs(60),
        shared_namespace,
    };
    let plan = Plan::read(id, dir.path(), &rules);
    plan.map(|plan| plan.tenant)
        .map_err(|error| chain(&error).replace(&path.display().to_string(), "FILE"))
}

#[test]
fn a_tenant_without_settings_has_the_defaults() {
    let tenant = plan("").unwrap();
    assert_eq!((&*tenant.id, &*tenant.namespace), ("acme", "acme"));
    assert_eq!(tenant.limits.leases, namelock_sandbox::CallLimits::default().leases);
}

#[test]
fn a_tenant_file_sets_namespace_settings_and_limits() {
    let file = r#"
        namespace = ""
        [settings]
        max = 3
        prefix = "r-"
        open = true
        [names]
        hold_ms = 60000
        [limits]
        cpu_time = "20ms"
    "#;
    let tenant = plan(file).unwrap();
    assert_eq!(&*tenant.namespace, "");
    let expect = ["max", "open", "prefix"];
    assert_eq!(tenant.settings.unread().collect::<Vec<_>>(), expect);
    assert_eq!(tenant.hold, Duration::from_secs(60));
    assert_eq!(tenant.limits.cpu_time, Duration::from_millis(20));
}

#[test]
fn a_wrong_tenant_file_says_what_and_where() {
    let check = |file: &str, expect: &str| assert_eq!(plan(file).err().unwrap(), expect, "{file}");
    check(
        r#"namespace = "other""#,
        "FILE, namespace: `other` is not allowed; leave it out for \"acme\"",
    );
    check(
        "[settings]\nlist = [1]",
        "FILE, line 2, settings.list: invalid type: sequence, expected a string, a whole number, true or false",
    );
    check(
        "[limits]\nmemory = \"1GB\"",
        "FILE, line 2, limits.memory: `1GB` is not a size with its unit, as in \"64KiB\" or \"64MiB\"",
    );
    check(
        "[limits]\nmemory = \"65MiB\"",
        "FILE, limits.memory: \"65MiB\" is above limits.max.memory of this host, \"64MiB\"; \
         lower the one or raise the other",
    );
    check(
        "[names]\nhold_ms = 60001",
        "FILE, names.hold_ms: 60001 is above names.hold_max of this host, 60000; lower the one or raise the other",
    );
    check(
        "[limits.max]\nmemory = \"1GiB\"",
        "FILE, line 1, limits.max: unknown field `max`, expected one of `component`, `artifact`, `calls`, `calls_waiting`, \
         `calls_wait`, `rate`, `burst`, `memory`, `cpu_time`, `wall_time`, `leases`, `host_calls`, `host_bytes`, \
         `handles`, `random_bytes`, `attributes`, `attribute_bytes`, `registrations`, \
         `registration_bytes`, `log_bytes`, `log_rate`, `log_followers`, `writes`, `write_rate`, `read_rate`, `refusal_rate`",
    );
    check(
        "[[tokens]]\nname = \"ci\"\nsha256 = \"nlk_secret\"\nrights = [\"find\"]",
        "FILE, tokens: the sha256 of `ci` is not 64 hexadecimal digits; make a new token with `namelock token new`",
    );
    check(
        "name = 1",
        "FILE, line 1, name: unknown field `name`, expected one of `namespace`, `record`, `component`, `sha256`, `canary`, `names`, `settings`, `limits`, `tokens`",
    );
}

#[test]
fn a_namespace_that_is_shared_is_given_by_the_host() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tenant.toml"), r#"namespace = """#).unwrap();
    let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
    let expect = "FILE, namespace: \"\" is for tenants to which the host gives it; leave it out for \"acme\", or add \"acme\" \
                  to lock.shared_namespace in the host's configuration";
    for shared in [&[] as &[TenantId], std::slice::from_ref(&other)] {
        assert_eq!(read(&acme, &dir, shared).err().unwrap(), expect);
    }
    let tenant = read(&acme, &dir, &[other, acme.clone()]).unwrap();
    assert_eq!(&*tenant.namespace, "");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let file = r#"
        namespace = "other"
        x = 1
        [settings]
        list = [1]
        [limits]
        memory = "1GB"
        leases = 0
        calls = 100000
        [[tokens]]
        name = "a b"
        sha256 = "x"
        rights = ["find"]
        [[tokens]]
        name = "ci"
        sha256 = "x"
        rights = ["fly"]
        [[tokens]]
        name = "cd"
        sha256 = "x"
        rights = ["find"]
    "#;
    let said = plan(file).err().unwrap();
    let problems = [
        "line 3, x: unknown field `x`",
        "line 5, settings.list: invalid type",
        "line 7, limits.memory: `1GB` is not a size",
        "line 8, limits.leases: 0 is out of range",
        "line 17, tokens.rights: unknown variant `fly`",
        "namespace: `other` is not allowed",
        "limits.calls: 100000 is above limits.max.calls",
        "tokens: `a b` is not a name",
        "tokens: the sha256 of `cd` is not 64 hexadecimal digits",
    ];
    for problem in problems {
        assert!(said.contains(problem), "{problem} is not in {said}");
    }
    assert_eq!(said.lines().count(), 1);
    let wrong: String = (0..1000).map(|number| format!("x{number} = 1\n")).collect();
    let said = plan(&wrong).err().unwrap();
    assert!(
        said.matches("unknown field").count() == 16 && said.len() < 4096,
        "{said}"
    );
}
