//! Pulls from a real registry.

use std::collections::HashSet;
use std::fs;

use namelock_oci::{Cache, OciConfig, Outcome, PullError, Reference, Unfit};
use namelock_test_servers::{Authority, Guard, Registry};

use super::{MAX, config, pull};

/// `ann:secret` in base64.
const AUTH: &str = "YW5uOnNlY3JldA==";

fn reference(registry: &Registry, digest: &str) -> String {
    format!("oci://{}/acme/rooms@{digest}", registry.address())
}

/// Pulls, and returns the component as it is read from the cache.
fn pulled(config: &OciConfig, reference: &str) -> Result<Vec<u8>, PullError> {
    let cache = Cache::new(&config.dir, MAX);
    cache.keep(&pull(config, reference)?, &HashSet::new()).unwrap();
    let reference: Reference = reference.parse().unwrap();
    Ok(cache.read(reference.digest(), MAX).unwrap())
}

#[test]
fn what_was_pushed_is_pulled_by_its_digest() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let config = config(folder.path());
    for component in [&b"one"[..], b"", &vec![7; MAX as usize]] {
        let digest = registry.push("acme/rooms", component);
        let found = pulled(&config, &reference(&registry, &digest)).unwrap();
        assert!(found == component, "{} bytes", component.len());
    }
    let nothing = format!("sha256:{}", "0".repeat(64));
    let refused = pull(&config, &reference(&registry, &nothing)).unwrap_err();
    assert!(
        matches!(refused, PullError::NotThere { what: "manifest", .. }),
        "{refused}"
    );
}

#[test]
fn what_is_no_component_is_said() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let refused = |digest: &str| match pull(&config(folder.path()), &reference(&registry, digest)) {
        Err(PullError::Unfit(unfit)) => unfit,
        other => panic!("{other:?}"),
    };
    let push = |config: &str, layers: &[(&str, &[u8])]| registry.push_as("acme/rooms", (config, b"{}"), layers);
    let image = push(
        "application/vnd.oci.image.config.v1+json",
        &[("application/vnd.oci.image.layer.v1.tar+gzip", b"x")],
    );
    assert_eq!(refused(&image), Unfit::Image);
    let wasm = "application/vnd.wasm.config.v0+json";
    let two = push(wasm, &[("application/wasm", b"x"), ("application/wasm", b"y")]);
    assert_eq!(refused(&two), Unfit::Layers(2));
    let text = push(wasm, &[("text/plain", b"x")]);
    assert_eq!(refused(&text), Unfit::Layer("text/plain".to_owned()));
    let kind = "application/vnd.oci.image.index.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{two}","size":{}}}]}}"#,
        500
    );
    assert_eq!(
        refused(&registry.push_manifest("acme/rooms", kind, &manifest)),
        Unfit::Index
    );
}

#[test]
fn a_component_that_is_too_large_is_not_read() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let digest = registry.push("acme/rooms", &vec![0; MAX as usize + 1]);
    let refused = pull(&config(folder.path()), &reference(&registry, &digest)).unwrap_err();
    assert!(matches!(refused, PullError::TooLarge { max: MAX, .. }), "{refused}");
    assert!(refused.to_string().contains("raise limits.component"), "{refused}");
}

#[test]
fn credentials_come_from_the_docker_config() {
    let (mut registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let digest = registry.push("acme/rooms", b"one");
    registry.start_again(&Guard {
        password: true,
        ..Guard::default()
    });
    let (config, reference) = (config(folder.path()), reference(&registry, &digest));
    let write = |text: String| fs::write(&config.docker_config, text).unwrap();
    let refused = pull(&config, &reference).unwrap_err();
    assert!(matches!(refused, PullError::NoCredentials { .. }), "{refused}");
    assert!(refused.to_string().contains("docker login 127.0.0.1:"), "{refused}");
    let auth = |host: &str, auth: &str| format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
    write(auth("ghcr.io", AUTH));
    let refused = pull(&config, &reference).unwrap_err();
    assert!(
        matches!(refused, PullError::NoCredentials { .. }),
        "of another registry: {refused}"
    );
    let host = registry.address().to_string();
    write(auth(&host, "YW5uOndyb25n"));
    let refused = pull(&config, &reference).unwrap_err();
    assert!(matches!(refused, PullError::Denied { .. }), "{refused}");
    assert_eq!(refused.outcome(), Outcome::Denied);
    write(auth(&host, AUTH));
    assert_eq!(pulled(&config, &reference).unwrap(), b"one");
    for wrong in ["", "{", "[]", r#"{"auths":7}"#] {
        write(wrong.to_owned());
        let refused = pull(&config, &reference).unwrap_err();
        assert!(matches!(refused, PullError::Credentials { .. }), "{wrong}: {refused}");
    }
    write(auth(&host, "!"));
    assert!(
        pull(&config, &reference)
            .unwrap_err()
            .to_string()
            .contains("docker login")
    );
}

#[test]
fn a_private_authority_is_trusted_where_it_is_configured() {
    let (mut registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let digest = registry.push("acme/rooms", b"one");
    // Nobody takes this for loopback, so it is asked over TLS, and it leads there all the same.
    let host = "::ffff:127.0.0.1";
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.sign(&[host]);
    registry.start_again(&Guard {
        tls: Some(&identity),
        password: true,
        ..Guard::default()
    });
    let port = registry.address().port();
    let reference = format!("oci://[{host}]:{port}/acme/rooms@{digest}");
    let mut config = config(folder.path());
    let auth = format!(r#"{{"auths":{{"[::ffff:127.0.0.1]:{port}":{{"auth":"{AUTH}"}}}}}}"#);
    fs::write(&config.docker_config, auth).unwrap();
    config.roots = Some(other.file());
    let refused = pull(&config, &reference).unwrap_err();
    assert!(matches!(refused, PullError::Unreached { .. }), "{refused}");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    config.roots = Some(authority.file());
    assert_eq!(pulled(&config, &reference).unwrap(), b"one");
    config.roots = Some(folder.path().join("none"));
    assert!(matches!(pull(&config, &reference), Err(PullError::Tls(_))));
}

#[test]
fn a_registry_that_hangs_is_waited_for_no_longer_than_it_may_be() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let digest = registry.push("acme/rooms", b"one");
    let mut config = config(folder.path());
    (config.connect_timeout, config.read_timeout) = (
        std::time::Duration::from_millis(100),
        std::time::Duration::from_millis(100),
    );
    registry.pause();
    let refused = pull(&config, &reference(&registry, &digest)).unwrap_err();
    assert!(matches!(refused, PullError::Silent { .. }), "{refused}");
    assert_eq!(refused.outcome(), Outcome::Unreachable);
    registry.resume();
}
