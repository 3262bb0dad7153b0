//! What a host would be configured with, and what is wrong with it, without starting one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::fixture::Builder;

fn namelock(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_namelock"))
        .current_dir(dir)
        .args(arguments)
        .output()
        .unwrap()
}

/// The exit code, what it printed, and the last line of its standard error.
fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let error = text(&output.stderr).lines().last().unwrap_or_default().to_owned();
    (output.status.code(), text(&output.stdout), error)
}

#[test]
fn the_printed_configuration_is_a_file_that_says_the_same() {
    let builder = Builder::new().config("[limits]\ncalls = 7\n[limits.max]\ncalls = 9\n[http]\ndrain = '1m'\n");
    let print = |mut command: Command| ended(&command.arg("--print-config").output().unwrap());
    let (code, first, error) = print(builder.command());
    assert_eq!(code, Some(0), "{error}");
    for line in [
        "calls = 7",
        "calls = 9",
        "drain = \"1m\"",
        "lame_duck = \"5s\"",
        "# previous is absent",
    ] {
        assert!(first.lines().any(|found| found == line), "{line} is not in\n{first}");
    }
    fs::write(builder.folder().join("printed.toml"), &first).unwrap();
    let (code, second, error) = ended(&namelock(
        builder.folder(),
        &["serve", "--config", "printed.toml", "--print-config"],
    ));
    assert_eq!((code, second), (Some(0), first), "{error}");
}

#[test]
fn a_printed_configuration_has_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let url = "postgres://ann:secret@db/names";
    let (code, printed, _) = ended(&namelock(dir.path(), &["serve", "--names", url, "--print-config"]));
    assert_eq!(code, Some(0));
    assert!(
        printed.contains("url = \"postgres://") && !printed.contains("secret"),
        "{printed}"
    );
}

#[test]
fn a_printed_configuration_has_no_password_of_memcached() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[lock]\nprevious = 'memcached://bob:secret@10.0.0.4:1'\n";
    fs::write(dir.path().join("namelock.toml"), config).unwrap();
    let url = "memcacheds://ann:secret@10.0.0.5:1,10.0.0.6:1";
    let arguments = ["serve", "--config", "namelock.toml", "--lock", url, "--print-config"];
    let (code, printed, error) = ended(&namelock(dir.path(), &arguments));
    assert_eq!(code, Some(0), "{error}");
    for line in [
        "url = \"memcacheds://ann@10.0.0.5:1,10.0.0.6:1\"",
        "previous = \"memcached://bob@10.0.0.4:1\"",
        "# Without its password.",
    ] {
        assert!(
            printed.lines().any(|found| found == line),
            "{line} is not in\n{printed}"
        );
    }
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn a_checked_configuration_does_not_show_a_password_of_memcached() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |lock: &str, expect: &str| {
        fs::write(dir.path().join("namelock.toml"), format!("[lock]\n{lock}\n")).unwrap();
        let (code, said, error) = ended(&namelock(dir.path(), &["check-config", "namelock.toml"]));
        assert_eq!((code, said.as_str()), (Some(2), ""), "{lock}: {error}");
        assert!(error.contains(expect) && !error.contains("secret"), "{lock}: {error}");
    };
    refused("url = 'memcached://ann:secret@secret@10.0.0.5:1'", "%40 for @");
    refused("url = 'memcached://ann:secret@10.0.0.5'", "host:port");
    refused(
        "url = 'memcached://ann:secret@10.0.0.5:1'\nca = 'ca.pem'",
        "write memcacheds://",
    );
    refused(
        "url = 'memcacheds://ann:secret@10.0.0.5:1'\nkey = 'key.pem'",
        "set lock.certificate too",
    );
}

#[test]
fn a_configuration_is_checked_with_the_files_of_its_tenants() {
    let dir = tempfile::tempdir().unwrap();
    let check = |config: &str| {
        fs::write(dir.path().join("namelock.toml"), config).unwrap();
        ended(&namelock(dir.path(), &["check-config", "namelock.toml"]))
    };
    let (code, said, error) = check("[http]\ncalls = 10\n");
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(
        said,
        "namelock.toml: nothing is wrong with it; its tenants were not checked, because there is no tenants here\n"
    );
    let refused = |config: &str, expect: &str| {
        let (code, said, error) = check(config);
        assert_eq!((code, said.as_str()), (Some(2), ""), "{config}: {error}");
        assert!(error.contains(expect), "{config}: {error}");
    };
    refused(
        "[http]\ncals = 10\n",
        "namelock.toml, line 2, http.cals: unknown field `cals`",
    );
    refused("[lock]\nlease = '1s'\n", "lock.lease: 1s is no longer than a write");
    refused(
        "[names]\nurl = 'postgres://ann:secret@db/names?sslmod=require'\n",
        "unknown option `sslmod`",
    );
    refused(
        "[names]\nretention = '1s'\n",
        "names.retention: 1s is shorter than a lease",
    );
    refused("[lock]\nrestart_grace = '1s'\n", "restart_grace is 1s");

    refused(
        "lock.previous = 'memcached://10.0.0.1:11211'\n",
        "previous is set, but the lock service is or was memory:",
    );
    refused(
        "http.listen = '0.0.0.0:8081'\n",
        "admin.listen: 127.0.0.1:8081 is also http.listen",
    );

    let tenant = dir.path().join("tenants/acme");
    fs::create_dir_all(&tenant).unwrap();
    let (code, said, _) = check("");
    assert_eq!(code, Some(0));
    assert!(
        said.contains("the files of its 1 tenants in tenants are right"),
        "{said}"
    );
    refused("[http]\nlisten = '0.0.0.0:8080'\n", "tenant `acme` has no tokens");
    fs::write(tenant.join("tenant.toml"), "[limits]\ncalls = 'many'\n").unwrap();
    refused("", "tenant acme: ");
}

#[test]
fn all_that_is_wrong_with_a_configuration_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let check = |config: &str| {
        fs::write(dir.path().join("namelock.toml"), config).unwrap();
        let (code, said, error) = ended(&namelock(dir.path(), &["check-config", "namelock.toml"]));
        assert_eq!((code, said.as_str()), (Some(2), ""), "{error}");
        error
    };
    let tenant = dir.path().join("tenants/acme");
    fs::create_dir_all(&tenant).unwrap();
    fs::write(tenant.join("tenant.toml"), "colour = 'red'\n[limits]\ncalls = 'many'\n").unwrap();
    let file = "
        [http]
        cals = 10
        drain = 'soon'
        tls_certificate = 'no.crt'
        [admin]
        listen = '0.0.0.0:8081'
        tls_certificate = 'no.crt'
        tls_key = 'no.key'
        hosts = ['a b']
        [metrics]
        tenants = -1
    ";
    let error = check(file);
    for expect in [
        "line 3, http.cals: unknown field `cals`",
        "line 4, http.drain: `soon` is not a time",
        "line 12, metrics.tenants: -1 is out of range",
        "admin.hosts: `a b` is no name",
        "tenant acme: ",
        "unknown field `colour`",
        "limits.calls: invalid type",
    ] {
        assert!(error.contains(expect), "{expect}: {error}");
    }
    for follows in ["no.crt", "operator has a token"] {
        assert!(!error.contains(follows), "it may follow from another mistake: {error}");
    }

    let error = check(
        &file
            .replace("cals = 10", "")
            .replace("drain = 'soon'", "")
            .replace("hosts = ['a b']", ""),
    );
    for expect in [
        "http.tls_certificate: a certificate needs its key",
        "admin.tls_certificate: cannot read no.crt",
        "no operator has a token",
        "tenant acme: ",
    ] {
        assert!(error.contains(expect), "{expect}: {error}");
    }

    let error = check("[lock]\nlease = '1s'\nmax_hold = '500ms'\nbackoff_min = '1m'\n[names]\nretention = '1s'\n");
    for expect in ["lock.max_hold: 500ms is shorter", "lock.backoff_min: 60s is longer"] {
        assert!(error.contains(expect), "{expect}: {error}");
    }
    assert!(!error.contains("names.retention"), "{error}");
    let error = check("[lock]\nlease = '1s'\n[names]\nretention = '1s'\n");
    for expect in ["lock.lease: 1s is no longer than", "names.retention: 1s is shorter"] {
        assert!(error.contains(expect), "{expect}: {error}");
    }
    let error = check("http = [");
    assert!(
        error.contains("this is not TOML") && !error.contains("tenant acme"),
        "{error}"
    );
}
