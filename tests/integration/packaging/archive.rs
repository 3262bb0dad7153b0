//! The archive, its sums, and what the Debian package is made of. The package itself is built by `make deb`, whose tool CI does not
//! install, and used by `make try-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{read, root};

/// Runs one of the scripts in `packaging`, and returns what it prints.
#[track_caller]
fn script(name: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new(root().join("packaging").join(name));
    let output = command.args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A program that is small to pack and does as the binary.
fn small(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("small");
    fs::write(
        &path,
        format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_namelock")),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_archive_has_all_that_is_shipped_and_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (binary, stage) = (small(folder.path()), folder.path().join("stage"));
    let made = |dist: &str| {
        let dist = folder.path().join(dist);
        script("stage.sh", &[&binary, &stage]);
        let archive = script("archive.sh", &[&stage, &dist]).trim().to_owned();
        script("checksums.sh", &[&dist]);
        (dist, archive)
    };
    let ((dist, archive), (_, again)) = (made("first"), made("second"));
    assert!(
        fs::read(&archive).unwrap() == fs::read(again).unwrap(),
        "the archives differ"
    );
    let sums = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&dist)
        .output();
    assert!(sums.unwrap().status.success());
    assert_eq!(fs::read_to_string(dist.join("SHA256SUMS")).unwrap().lines().count(), 1);

    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let tar = |arguments: &[&str]| {
        Command::new("tar")
            .args(arguments)
            .current_dir(&unpacked)
            .status()
            .unwrap()
    };
    assert!(tar(&["--extract", "--strip-components=1", "--file", &archive]).success());
    for file in [
        "bin/namelock",
        "man/namelock-serve.1.gz",
        "completions/_namelock",
        "packaging/namelock.service",
        "packaging/namelock-http.socket",
        "packaging/namelock.toml",
        "packaging/kubernetes.yaml",
        "docs/operations.md",
        "LICENSE-MIT",
    ] {
        assert!(unpacked.join(file).is_file(), "{file} is not in the archive");
    }
    let version = Command::new(unpacked.join("bin/namelock"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        concat!("namelock ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_binary_of_another_version_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let stage = folder.path().join("stage");
    fs::create_dir_all(stage.join("bin")).unwrap();
    let binary = stage.join("bin/namelock");
    fs::write(&binary, "#!/bin/sh\necho namelock 0.0.1\n").unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(root().join("packaging/archive.sh"));
    let output = command
        .args([&stage, &folder.path().join("dist")])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.starts_with("the binary is of version 0.0.1 and Cargo.toml of "),
        "{said}"
    );
}

#[test]
fn everything_that_the_debian_package_names_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let stage = folder.path().join("stage");
    script("stage.sh", &[&small(folder.path()), &stage]);
    let manifest: toml::Table = read("host/server/Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let there = |source: &str| {
        let source = source.strip_prefix("../../").unwrap();
        let path = match source.strip_prefix("target/stage/") {
            Some(staged) => stage.join(staged),
            None => root().join(source),
        };
        // The shell knows what a star is.
        let listed = Command::new("sh")
            .args(["-c", "ls -d -- $0 >/dev/null"])
            .arg(path)
            .status();
        listed.unwrap().success()
    };
    let assets = deb["assets"].as_array().unwrap();
    for asset in assets {
        let source = asset[0].as_str().unwrap();
        assert!(there(source), "{source}");
    }
    assert!(there(deb["changelog"].as_str().unwrap()));
    let installed = |path: &str| assets.iter().any(|asset| asset[1].as_str() == Some(path));
    for path in deb["conf-files"].as_array().unwrap() {
        let path = path.as_str().unwrap().trim_start_matches('/');
        assert!(installed(path), "{path} is a configuration file and is not installed");
    }
    // Where the unit looks for it.
    let unit = read("packaging/namelock.service");
    assert!(unit.contains("\nExecStart=/usr/bin/namelock ") && installed("usr/bin/"));
    for script in ["postinst", "prerm", "postrm"] {
        let judged = Command::new("sh")
            .arg("-n")
            .arg(root().join("packaging/debian").join(script))
            .status();
        assert!(judged.unwrap().success(), "{script}");
    }
}
