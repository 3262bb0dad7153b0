//! The image and the manifest for Kubernetes. Neither a builder of images nor a cluster is on the machines where this runs; what
//! stands in the files is checked by hadolint, yamllint and the schemas of Kubernetes, and compared with the host here.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{CLOSE, config, read, root};

const MANIFEST: &str = "packaging/kubernetes.yaml";
const DOCKERFILE: &str = "packaging/Dockerfile";

/// Runs a tool that `make setup-packaging` has installed.
fn check(tool: &str, arguments: &[&str]) {
    let program = root().join("target/python/packaging/bin").join(tool);
    let output = Command::new(&program).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run `make setup-packaging`", program.display()));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&said));
}

/// The objects of the manifest.
fn objects() -> Vec<Value> {
    let text = read(MANIFEST);
    let documents = text.split("\n---\n").filter(|part| part.contains("kind:"));
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

fn object(kind: &str) -> Value {
    let found = objects().into_iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("the manifest has no {kind}"))
}

fn pod() -> Value {
    object("Deployment")["spec"]["template"]["spec"].clone()
}

/// The configuration of the pods, with the variables of their Secret.
fn configured() -> namelock::config::Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("namelock.toml");
    fs::write(&file, object("ConfigMap")["data"]["namelock.toml"].as_str().unwrap()).unwrap();
    let secret = object("Secret")["stringData"].clone();
    let variable = |name: &'static str| (name, secret[name].as_str().unwrap());
    config(&file, &[variable("NAMELOCK_NAMES"), variable("NAMELOCK_LOCK")])
}

#[test]
fn the_image_is_built_as_its_linter_asks() {
    check("hadolint", &["--failure-threshold", "info", DOCKERFILE]);
}

#[test]
fn kubernetes_knows_every_field_of_the_manifest() {
    check("kubernetes-validate", &["--strict", "--quiet", MANIFEST]);
    check(
        "yamllint",
        &["--strict", "--config-file", "packaging/.yamllint.yml", MANIFEST],
    );
}

#[test]
fn probes_ask_the_admin_listener_for_what_it_answers() {
    let (pod, config) = (pod(), configured());
    let container = &pod["containers"][0];
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(port("http"), u64::from(config.http.listen.port()));
    assert_eq!(port("admin"), u64::from(config.admin.listen.port()));
    let operations = read("docs/operations.md");
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        let get = &container[probe]["httpGet"];
        assert_eq!(
            (get["path"].as_str(), get["port"].as_str()),
            (Some(path), Some("admin")),
            "{probe}"
        );
        assert!(operations.contains(&format!("| `{path}` |")), "{path} is documented");
    }
    assert_eq!(object("Service")["spec"]["ports"][0]["targetPort"], "http");
    // It is reached from other machines, and asks everybody but probes for a token.
    assert!(!config.admin.open && !config.admin.tokens.tokens.is_open());
}

#[test]
fn a_pod_has_the_time_to_stop_that_its_host_needs() {
    let (pod, config) = (pod(), configured());
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
    assert!(grace >= config.http.lame_duck + config.http.drain + CLOSE, "{grace:?}");
    // It is not ready any more before its lame duck ends, with as long for the nodes to hear of it.
    let probe = &pod["containers"][0]["readinessProbe"];
    let unready = probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
    assert!(config.http.lame_duck >= 2 * Duration::from_secs(unready));
}

#[test]
fn a_pod_has_the_memory_that_its_host_may_use_and_no_swap() {
    let (pod, config) = (pod(), configured());
    let resources = &pod["containers"][0]["resources"];
    let gib = |value: &Value| {
        value
            .as_str()
            .unwrap()
            .strip_suffix("Gi")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            << 30
    };
    let limit = gib(&resources["limits"]["memory"]);
    assert_eq!(
        gib(&resources["requests"]["memory"]),
        limit,
        "where they differ, a node may swap"
    );
    let used = config.http.calls as u64 * config.limits_max.call.memory as u64 + config.compiler.memory as u64;
    assert!(used < limit, "{used} of {limit}");
}

#[test]
fn pods_are_three_and_stay_two_and_may_nothing() {
    let (pod, deployment) = (pod(), object("Deployment"));
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!(object("PodDisruptionBudget")["spec"]["minAvailable"], 2);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&object("Service")["spec"]["selector"], labels);
    assert_eq!(
        &object("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        labels
    );
    // What the level `restricted` of Kubernetes asks for, and a root that cannot be written.
    let level = &object("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(level, "restricted");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
}

#[test]
fn the_image_has_the_compiler_the_user_and_the_sources_of_this_repository() {
    let dockerfile = read(DOCKERFILE);
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    assert!(dockerfile.contains(&format!("ARG RUST_VERSION={version}\n")));
    let user = pod()["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")));
    assert!(!dockerfile.contains("\nHEALTHCHECK"));
    // The configuration in it is accepted.
    let config = config(&root().join("packaging/container.toml"), &[]);
    assert!(dockerfile.contains(&format!("{}/tenants", "etc/namelock")));
    for dir in ["/var/lib/namelock", "/var/cache/namelock"] {
        assert!(dockerfile.contains(&format!("/root{dir}")), "{dir}");
    }
    assert_eq!(config.compiler.cache.dir, std::path::Path::new("/var/cache/namelock"));
    // What the sources of the host include from elsewhere is sent to the builder.
    let sent = read("packaging/Dockerfile.dockerignore");
    for source in [
        "docs/openapi.json",
        "docs/admin.openapi.json",
        "wit/world.wit",
        "host/server/page/index.html",
    ] {
        let is_sent = |pattern: &str| {
            let pattern = pattern.trim_start_matches('!');
            source == pattern
                || source.starts_with(&format!("{pattern}/"))
                || pattern
                    .split_once('*')
                    .is_some_and(|(begin, end)| source.starts_with(begin) && source.ends_with(end))
        };
        assert!(
            sent.lines().filter(|line| line.starts_with('!')).any(is_sent),
            "{source} is not sent"
        );
    }
}
