//! The unit of systemd and its socket, and the configuration that they go with.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use namelock_test_servers::Process;

use super::{CLOSE, config, read, root};

const SERVICE: &str = "packaging/namelock.service";
const INSTALL: &str = "install systemd";

/// The most that `systemd-analyze security` may say, of 10; services without any of it have 9.6.
const EXPOSURE_MAX: f64 = 2.0;

/// The values of a key of a unit, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn value(unit: &str, key: &str) -> String {
    values(unit, key)
        .pop()
        .unwrap_or_else(|| panic!("the unit does not have {key}="))
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let mut command = Process::command("systemd-analyze", INSTALL);
    let output = command.args(arguments).current_dir(root()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_unit_leaves_the_host_little_that_it_does_not_need() {
    let (_, said) = analyze(&["security", "--offline=true", "--no-pager", SERVICE]);
    let words = said
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for namelock.service: "));
    let exposure = words.and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(exposure.is_some_and(|exposure| exposure <= EXPOSURE_MAX), "{said}");
}

#[test]
fn systemd_understands_the_unit_and_its_socket() {
    // With the program where it is here: whether it is where the package has it, its own test looks.
    let folder = tempfile::tempdir().unwrap();
    for name in ["namelock.service", "namelock-http.socket"] {
        let unit = read(&format!("packaging/{name}"));
        let unit = unit.replace("/usr/bin/namelock", env!("CARGO_BIN_EXE_namelock"));
        std::fs::write(folder.path().join(name), unit).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (well, said) = analyze(&[
        "verify",
        "--man=no",
        &path("namelock.service"),
        &path("namelock-http.socket"),
    ]);
    // systemd before 253 says this of the second Type=, and keeps to the first.
    let complaints = said
        .lines()
        .filter(|line| !line.ends_with("Failed to parse service type, ignoring: notify-reload"));
    let about_it = complaints.filter(|line| line.contains("namelock."));
    assert!(well, "{said}");
    assert_eq!(about_it.count(), 0, "{said}");
}

#[test]
fn the_packaged_configuration_is_for_the_directories_of_the_unit() {
    let unit = read(SERVICE);
    let file = root().join("packaging/namelock.toml");
    let config = config(&file, &[]);
    let state = format!("/var/lib/{}/", value(&unit, "StateDirectory"));
    assert!(
        config.names_url.to_string().starts_with(&format!("sqlite:{state}")),
        "{}",
        config.names_url
    );
    let cache = Path::new("/var/cache").join(value(&unit, "CacheDirectory"));
    assert_eq!(config.compiler.cache.dir, cache);
    // The host starts only if nobody else can enter it.
    assert_eq!(value(&unit, "CacheDirectoryMode"), "0700");
    assert_eq!(config.tenants, Path::new("/etc/namelock/tenants"));
    assert!(value(&unit, "ExecStart").ends_with(" serve --config /etc/namelock/namelock.toml"));
    let checked = Command::new(env!("CARGO_BIN_EXE_namelock"))
        .arg("check-config")
        .arg(file)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn systemd_waits_for_as_long_as_the_host_may_take() {
    let unit = read(SERVICE);
    let config = config(&root().join("packaging/namelock.toml"), &[]);
    let seconds = |key: &str| Duration::from_secs(value(&unit, key).parse().unwrap());
    assert!(seconds("TimeoutStopSec") >= config.http.lame_duck + config.http.drain + CLOSE);
    assert!(seconds("TimeoutStartSec") >= 2 * config.tenants_wait);
    let files: usize = value(&unit, "LimitNOFILE").parse().unwrap();
    assert!(files >= config.http.connections + 256, "{files}");
    // Known weaknesses in SECURITY.md.
    assert_eq!(value(&unit, "MemorySwapMax"), "0");
    // Older versions of systemd ignore the last.
    assert_eq!(values(&unit, "Type"), ["notify", "notify-reload"]);
}

#[test]
fn the_socket_opens_the_address_of_the_packaged_configuration() {
    let socket = read("packaging/namelock-http.socket");
    let config = config(&root().join("packaging/namelock.toml"), &[]);
    assert_eq!(value(&socket, "ListenStream"), config.http.listen.to_string());
    assert_eq!(value(&socket, "FileDescriptorName"), "http");
}
