//! Every layer of the configuration, and the messages about a wrong one.

use std::io::Write;
use std::time::Duration;

use namelock_sandbox::{CacheConfig, CompilerConfig};

use super::*;
use crate::config::document;
use crate::config::limits::TENANT;
use crate::config::setting::{Field, Kind};
use crate::config::{Described, HttpConfig, all};

fn load(file: &str) -> Result<Config, String> {
    let mut at = tempfile::NamedTempFile::new().unwrap();
    at.write_all(file.as_bytes()).unwrap();
    let path = at.path().to_path_buf();
    let flags = ServeFlags {
        config: Some(path.clone().into()),
        ..ServeFlags::default()
    };
    let result = Config::load(&flags, &|_| None);
    result.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
}

#[test]
fn a_setting_that_is_left_out_has_its_default() {
    let config = Config::load(&ServeFlags::default(), &|_| None).unwrap();
    assert_eq!(config.http, HttpConfig::default());
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.lock_url.to_string(), "memory:");
    assert_eq!(config.names_url.to_string(), "sqlite:namelock.db");
    assert_eq!(config.tenants, Path::new("tenants"));
    assert_eq!(config.limits.component, 32 << 20);
}

#[test]
fn a_file_can_set_everything() {
    let config = load(
        r#"
        [http]
        listen = "0.0.0.0:80"
        body = "32KiB"
        body_timeout = "2s"
        header_timeout = "3s"
        connections = 10
        calls = 5
        calls_waiting = 6
        calls_wait = "100ms"
        open = true
        header_bytes = "8KiB"
        headers = 32
        write_timeout = "4s"
        drain = "1m"
        [admin]
        listen = "[::1]:81"
        [lock]
        url = "memcached://a:1"
        lease = "20s"
        max_hold = "30s"
        restart_grace = "15s"
        watch_every = "14s"
        lanes = 3
        queue = 100
        batch = 10
        connect_timeout = "2s"
        exchange_timeout = "3s"
        backoff_min = "1ms"
        backoff_max = "4s"
        reaper_queue = 7
        max_wait = "5s"
        waiters = 9
        memory_locks = 99
        shared_namespace = ["acme", "old-site"]
        [names]
        url = "sqlite:/var/lib/names.db"
        queue = 10
        batch = 11
        readers = 4
        busy_timeout = "7s"
        connections = 5
        connect_timeout = "6s"
        timeout = "8s"
        tls_roots = "/etc/ca.pem"
        retention = "2h"
        [limits]
        component = "1MiB"
        artifact = "2MiB"
        memory = "16MiB"
        cpu_time = "10ms"
        wall_time = "2s"
        leases = 2
        host_calls = 50
        host_bytes = "4KiB"
        handles = 20
        random_bytes = "1KiB"
        attributes = 5
        attribute_bytes = "1KiB"
        log_bytes = "1KiB"
        stack = "128KiB"
        calls = 3
        calls_waiting = 4
        calls_wait = "5ms"
        rate = 6
        burst = 7
        [limits.max]
        memory = "32MiB"
        [compiler]
        memory = "1GiB"
        cpu_time = "20s"
        wall_time = "40s"
        artifact = "64MiB"
        processes = 2
        cache = "/var/cache/namelock"
        cache_files = 12
        cache_bytes = "1GiB"
        [tenants]
        dir = "/srv/tenants"
        wait = "9s"
        "#,
    )
    .unwrap();
    assert_eq!(config.http.drain, Duration::from_secs(60));
    assert_eq!(config.http.listen.port(), 80);
    assert_eq!(config.admin.listen.port(), 81);
    assert_eq!(config.lock_url.to_string(), "memcached://a:1");
    assert_eq!(config.lock.max_wait, Duration::from_secs(5));
    assert_eq!(config.lock.restart_grace, Some(Duration::from_secs(15)));
    assert_eq!(
        config.shared_namespace,
        ["acme", "old-site"].map(|id| id.parse().unwrap())
    );
    assert_eq!(config.limits.artifact, 2 << 20);
    assert_eq!(config.limits.call.attribute_bytes, 1024);
    assert_eq!(config.limits.call.memory, 16 << 20);
    assert_eq!(config.limits.admission.burst, 7);
    assert_eq!(config.limits_max.call.memory, 32 << 20);
    assert_eq!(config.limits_max.call.leases, 2, "what is left out is not raised");
    assert_eq!(
        (config.stack, config.http.calls_waiting, config.http.open),
        (128 << 10, 6, true)
    );
    assert_eq!(config.tenants, Path::new("/srv/tenants"));
    assert_eq!(config.tenants_wait, Duration::from_secs(9));
    let compiler = CompilerConfig {
        program: "/proc/self/exe".into(),
        memory: 1 << 30,
        cpu_time: Duration::from_secs(20),
        wall_time: Duration::from_secs(40),
        artifact: 64 << 20,
        processes: 2,
        cache: CacheConfig {
            dir: "/var/cache/namelock".into(),
            files: 12,
            bytes: 1 << 30,
        },
    };
    assert_eq!(config.compiler, compiler);
}

#[test]
fn an_error_says_what_and_where_and_how_to_fix_it() {
    let check = |file: &str, expect: &str| assert_eq!(load(file).unwrap_err(), expect, "{file}");
    check(
        "[http]\ndrain = 10",
        "FILE, line 2, http.drain: invalid type: integer `10`, expected a time with its unit, \
         as in \"10s\" or \"500ms\"",
    );
    check(
        "[http]\n\ndrain = \"10\"",
        r#"FILE, line 3, http.drain: `10` is not a time with its unit, as in "10s" or "500ms""#,
    );
    check(
        "[http]\nbody = \"64KB\"",
        r#"FILE, line 2, http.body: `64KB` is not a size with its unit, as in "64KiB" or "64MiB""#,
    );
    check(
        "http.calls = 0",
        "FILE, line 1, http.calls: 0 is out of range: at least 1, at most 100000",
    );
    check(
        "http.calls = -1",
        "FILE, line 1, http.calls: -1 is out of range: at least 1, at most 100000",
    );
    check(
        "http.calls = \"9\"",
        "FILE, line 1, http.calls: invalid type: string \"9\", expected a whole number, \
         at least 1 and at most 100000",
    );
    check(
        "[limits]\nwall_time = \"1h\"",
        "FILE, line 2, limits.wall_time: 1h is out of range: at least 1ms, at most 10m",
    );
    check(
        "[admin]\nlisten = \"here\"",
        "FILE, line 2, admin.listen: `here` is not an address; write an IP address with a port, \
         as in 127.0.0.1:8080",
    );
    check(
        "[admin]\ncolour = 1",
        "FILE, line 2, admin.colour: unknown field `colour`, expected one of \
         `listen`, `tls_certificate`, `tls_key`, `tls_client_roots`, `tls_client_rights`, `open`, `tokens`, `hosts`",
    );
    check(
        "[https]\n",
        "FILE, line 1, https: unknown field `https`, expected one of \
         `http`, `admin`, `lock`, `names`, `limits`, `compiler`, `tenants`, `oci`, `versions`, `record`, `trace`, `log`, `metrics`",
    );
    check(
        "[lock]\nbackoff_min = \"2s\"",
        "FILE, lock.backoff_min: 2s is longer than lock.backoff_max, 500ms; make it shorter or the other longer",
    );
    check(
        "[lock]\nmax_hold = \"5s\"",
        "FILE, lock.max_hold: 5s is shorter than lock.lease, 10s; make it longer or the other shorter",
    );
    check(
        "[limits.max]\nmemory = \"32MiB\"",
        "FILE, limits.memory: \"64MiB\" is above limits.max.memory of this host, \"32MiB\"; \
         lower the one or raise the other",
    );
    check(
        "[limits]\nrate = 0",
        "FILE, line 2, limits.rate: 0 is out of range: at least 1, at most 1000000",
    );
    let starts = |file: &str, expect: &str| assert!(load(file).unwrap_err().starts_with(expect), "{file}");
    starts("http = [", "FILE, line 1: this is not TOML: ");
    starts("[lock]\nurl = \"redis:\"", "FILE, line 2, lock.url: ");
    starts("[names]\nurl = \"mysql:\"", "FILE, line 2, names.url: ");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let flags = ServeFlags {
        config: Some("/no/such.toml".into()),
        ..ServeFlags::default()
    };
    let error = Config::load(&flags, &|_| None).unwrap_err().to_string();
    assert!(error.starts_with("/no/such.toml: cannot read this file: "), "{error}");
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"http.listen = \"127.0.0.1:1\"\nadmin.listen = \"127.0.0.1:1\"\ntenants.dir = \"file\"")
        .unwrap();
    let flags = ServeFlags {
        listen: Some("127.0.0.1:3".into()),
        ..ServeFlags::default()
    };
    let env = |variable: &str| match variable {
        "NAMELOCK_CONFIG" => Some(file.path().into()),
        "NAMELOCK_LISTEN" | "NAMELOCK_ADMIN" => Some("127.0.0.1:2".into()),
        "NAMELOCK_LOCK" => Some("memcached://env:11211".into()),
        _ => None,
    };
    let config = Config::load(&flags, &env).unwrap();
    assert_eq!(config.http.listen.port(), 3, "flag");
    assert_eq!(config.admin.listen.port(), 2, "environment");
    assert_eq!(config.lock_url.to_string(), "memcached://env:11211");
    assert_eq!(config.tenants, Path::new("file"));
}

#[test]
fn an_error_names_the_variable_or_the_flag() {
    let check = |flags: &ServeFlags, env: Option<&str>, expect: &str| {
        let env = |variable: &str| {
            (variable == "NAMELOCK_ADMIN")
                .then_some(env)
                .flatten()
                .map(OsString::from)
        };
        let error = Config::load(flags, &env).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
        assert_eq!(error.lines().count(), 1);
    };
    let flags = ServeFlags {
        admin: Some("1\n2".into()),
        ..ServeFlags::default()
    };
    check(&flags, Some("x"), "--admin: `1 2` is not an address; ");
    check(
        &ServeFlags::default(),
        Some(""),
        "NAMELOCK_ADMIN: `` is not an address; ",
    );
}

#[test]
fn the_documented_file_says_the_same_as_no_file() {
    let file = document::file();
    let [documented, default] = [file.as_str(), ""].map(|text| Config {
        file: None,
        ..load(text).unwrap()
    });
    assert_eq!(format!("{documented:#?}"), format!("{default:#?}"));
    for Described { entry, .. } in all() {
        assert!(
            file.contains(&format!("\n{} = ", entry.name())) || entry.absent.is_some(),
            "{}",
            entry.key
        );
    }
}

#[test]
fn the_examples_of_the_documented_file_are_valid() {
    let file = document::file();
    let is_example = |line: &str| line.starts_with("# ") && line.contains(" = ");
    let lines = file
        .lines()
        .map(|line| if is_example(line) { &line[2..] } else { line });
    let config = load(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(config.lock.restart_grace.is_some() && config.names.tls_roots.is_some());
}

/// A file with tokens of operators.
const TOKENS: &str = r#"
    [admin]
    open = true
    [[admin.tokens]]
    name = "ops"
    sha256 = "60af7e5ab0036ead31e3d3fffc5f6effb43efc6729965d56007c05b36a5dbe3f"
    rights = ["read", "write"]
"#;

#[test]
fn tokens_of_operators_are_read_and_wrong_ones_named() {
    let config = load(TOKENS).unwrap();
    assert!(config.admin.open && !config.admin.tokens.tokens.is_open());
    let hash = "60af7e5ab0036ead31e3d3fffc5f6effb43efc6729965d56007c05b36a5dbe3f";
    assert!(!format!("{config:?}").contains(hash), "nobody needs it in a log");
    let written = crate::config::effective(&config);
    let line = format!("tokens = [{{ name = \"ops\", sha256 = \"{hash}\", rights = [\"read\", \"write\"] }}]");
    assert!(written.contains(&line), "{written}");
    let wrong = |from: &str, to: &str| load(&TOKENS.replace(from, to)).unwrap_err();
    assert_eq!(
        wrong("read", "fly"),
        "FILE, line 7, admin.tokens[0].rights[0]: unknown variant `fly`, expected one of `read`, `names`, `write`"
    );
    assert_eq!(
        wrong("\"read\", \"write\"", ""),
        "FILE, admin.tokens: `ops` has no rights; write some of read, names and write"
    );
}

/// A value of this kind that is in its range.
fn sample(kind: Kind) -> Value {
    match kind {
        Kind::Time(min, _) => Value::Time(Duration::from_millis(min)),
        Kind::Size(min, _) => Value::Size(min),
        Kind::Count(min, _) => Value::Count(min),
        Kind::Switch => Value::Switch(true),
        Kind::Text => Value::Text("x".into()),
        Kind::List => Value::List(vec!["x".to_owned()]),
        Kind::Tokens => Value::Tokens(load(TOKENS).unwrap().admin.tokens.sections),
    }
}

fn stores<T>(setting: &Setting<T>, target: &mut T) {
    let (key, kind) = (setting.entry.key, setting.entry.kind);
    let default = setting.value(target);
    assert_eq!(default.is_none(), setting.entry.absent.is_some(), "{key}");
    let value = match (setting.field)(target) {
        Field::OptionalLockUrl(_) => Value::Text("memcached://a:1".into()),
        Field::OptionalOtlpUrl(_) => Value::Text("http://a:1/v1/traces".into()),
        _ => default.unwrap_or_else(|| sample(kind)),
    };
    assert_eq!(
        std::mem::discriminant(&value),
        std::mem::discriminant(&sample(kind)),
        "{key}"
    );
    (setting.field)(target).set(value.clone()).unwrap();
    assert_eq!(setting.value(target), Some(value), "{key}");
    // The whole range must fit.
    if let Kind::Size(_, max) | Kind::Count(_, max) = kind {
        let max = if matches!(kind, Kind::Size(..)) {
            Value::Size(max)
        } else {
            Value::Count(max)
        };
        (setting.field)(target).set(max.clone()).unwrap();
        assert_eq!(setting.value(target), Some(max), "{key}");
    }
    let field: Field<'_> = (setting.field)(target);
    assert_eq!(
        matches!(
            field,
            Field::OptionalTime(_) | Field::OptionalPath(_) | Field::OptionalLockUrl(_) | Field::OptionalOtlpUrl(_)
        ),
        setting.entry.absent.is_some()
    );
}

#[test]
fn every_setting_fits_its_field() {
    let (mut config, mut limits) = (Config::default(), Limits::default());
    HOST.iter().for_each(|setting| stores(setting, &mut config));
    TENANT.iter().for_each(|setting| stores(setting, &mut limits));
}

#[test]
fn every_setting_has_its_section_a_sentence_and_a_key_of_its_own() {
    let all = all();
    for (index, Described { entry, .. }) in all.iter().enumerate() {
        assert!(
            SECTIONS.iter().any(|(name, _)| *name == entry.section()),
            "{}",
            entry.key
        );
        assert!(!entry.says.is_empty() && !entry.says.ends_with('.'), "{}", entry.key);
        assert!(
            all[..index].iter().all(|other| other.entry.key != entry.key),
            "{}",
            entry.key
        );
    }
}

#[test]
fn every_flag_names_its_variable_and_its_default() {
    let command = <ServeFlags as clap::Args>::augment_args(clap::Command::new("serve"));
    let mut found = vec!["config".to_owned()];
    for Described {
        entry, flag, default, ..
    } in all()
    {
        let Some(flag) = flag else { continue };
        let name = flag.flag().trim_start_matches('-').to_owned();
        let id = name.replace('-', "_");
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_id() == id.as_str());
        let help = argument.unwrap().get_help().unwrap().to_string();
        assert!(help.contains(&format!("[env: {}]", flag.variable())), "{help}");
        if entry.kind == Kind::Text {
            let default = default.unwrap().to_string();
            assert!(
                help.contains(&format!("[default: {}]", default.trim_matches('"'))),
                "{help}"
            );
        }
        found.push(id);
    }
    for argument in command.get_arguments() {
        assert!(
            found.iter().any(|name| argument.get_id() == name.as_str()),
            "{argument} is no setting"
        );
    }
}
