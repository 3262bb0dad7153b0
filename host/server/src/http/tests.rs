use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::Version;
use http_body_util::BodyExt;
use namelock_lock::{LockConfig, LockUrl, Locks};
use namelock_names::{NamesConfig, NamesUrl};
use namelock_sandbox::{CacheConfig, CompilerConfig, Powers, Sandbox, SandboxConfig};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::observe::REQUEST_ID;
use super::*;
use crate::admission::Calls;
use crate::config::Limits;
use crate::metrics::Now;
use crate::tenants::{Rules, Tenants, directory};

/// A host whose only tenant, `broken`, has no component.
struct Host {
    app: Arc<App>,
    _dir: TempDir,
}

impl Host {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tenants = dir.path().join("tenants");
        std::fs::create_dir_all(tenants.join("broken")).unwrap();
        let config = SandboxConfig {
            instances: 1,
            ..SandboxConfig::default()
        };
        let compiler = CompilerConfig {
            cache: CacheConfig {
                dir: dir.path().join("cache"),
                files: 1,
                bytes: 1,
            },
            ..CompilerConfig::default()
        };
        let limits = Limits::default();
        let rules = Rules {
            defaults: &limits,
            max: &limits,
            hold_max: Duration::MAX,
            shared_namespace: &[],
        };
        let candidates = directory::scan(&tenants, &rules, Path::new("none")).unwrap();
        let tenants = Tenants::new(Sandbox::new(&config, compiler).unwrap());
        tenants.load(candidates).await;
        let names = NamesUrl::Sqlite(dir.path().join("names.db"));
        let app = App {
            tenants: Arc::new(tenants),
            powers: Powers {
                locks: Locks::open(&LockUrl::Memory, LockConfig::default()).unwrap(),
                names: namelock_names::open(&names, NamesConfig::default()).await.unwrap(),
            },
            calls: Calls::new(1, 0, Duration::from_millis(1)),
            recorder: None,
            tracer: None,
            metrics: Arc::default(),
            follows: Follows::new(1),
            faults: Arc::default(),
            body: BodyLimits {
                max: 64,
                timeout: Duration::from_millis(50),
            },
        };
        Self {
            app: Arc::new(app),
            _dir: dir,
        }
    }

    async fn ask(&self, method: &str, uri: &str) -> Response {
        let request = Request::builder().method(method).uri(uri).header("host", "t");
        let request = request.header(REQUEST_ID, "mine-1");
        self.send(request.body(Body::empty()).unwrap()).await
    }

    fn metrics(&self) -> String {
        self.app.metrics.render(Now::default())
    }

    async fn send(&self, request: Request) -> Response {
        router(Arc::clone(&self.app)).oneshot(request).await.unwrap()
    }
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

// Shows P7: a request for a tenant that is unknown or cannot be served is refused with a code.
#[tokio::test]
async fn a_request_that_reaches_no_handler_gets_its_code() {
    let host = Host::start().await;
    let check = async |method: &str, uri: &str, status: u16, code: &str| {
        let response = host.ask(method, uri).await;
        assert_eq!(response.status(), status, "{method} {uri}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["x-request-id"], "mine-1");
        let body = json(response).await;
        assert_eq!(
            (&body["code"], &body["status"]),
            (&Value::from(code), &Value::from(status)),
            "{method} {uri}"
        );
        assert_eq!(body["request_id"], "mine-1");
    };
    check("GET", "/", 404, "not_found").await;
    check("GET", "/v1", 404, "not_found").await;
    check("GET", "/v1/acme", 404, "not_found").await;
    check("GET", "/v2/acme/names/n", 404, "not_found").await;
    check("GET", "/v1/acme/names/a/b", 404, "not_found").await;
    check("POST", "/v1/acme/names", 404, "unknown_tenant").await;
    check("GET", "/v1/acme/names/n", 404, "unknown_tenant").await;
    check("DELETE", "/v1/acme/names/n?owner=o", 404, "unknown_tenant").await;
    check("GET", "/v1/acme/log", 404, "unknown_tenant").await;
    check("GET", "/v1/broken/log", 503, "tenant_unavailable").await;
    check("GET", "/v1/../names/n", 404, "unknown_tenant").await;
    check("GET", "/v1/..%2f..%2fetc/names/n", 404, "unknown_tenant").await;
    check("GET", "/v1/ACME/names/n", 404, "unknown_tenant").await;
    check("GET", "/v1/%zz/names/n", 400, "invalid_request").await;
    check("GET", "/v1/%ff/names/n", 400, "invalid_request").await;
    check("POST", "/v1/broken/names", 503, "tenant_unavailable").await;
    check("GET", "/v1/broken/names/n", 503, "tenant_unavailable").await;
    check("DELETE", "/v1/b%72oken/names/n?owner=o", 503, "tenant_unavailable").await;
}

#[tokio::test]
async fn a_wrong_method_is_told_the_allowed_ones() {
    let host = Host::start().await;
    let check = async |method: &str, uri: &str, allow: &str| {
        let response = host.ask(method, uri).await;
        assert_eq!(response.status(), 405, "{method} {uri}");
        assert_eq!(response.headers()["allow"], allow, "{method} {uri}");
        assert_eq!(json(response).await["code"], "unsupported");
    };
    check("PUT", "/v1/acme/names", "GET,HEAD,POST").await;
    check("DELETE", "/v1/acme/names", "GET,HEAD,POST").await;
    check("PUT", "/v1/acme/names/n", "GET,HEAD,PATCH,DELETE").await;
    check("POST", "/v1/acme/names/n", "GET,HEAD,PATCH,DELETE").await;
    check("PATCH", "/v1/acme/log", "GET,HEAD").await;
}

#[tokio::test]
async fn a_request_has_one_host_since_http_1_1() {
    let host = Host::start().await;
    let check = async |version: Version, hosts: &[&str], status: u16| {
        let request = Request::builder().version(version).uri("/v1/acme/names/n");
        let request = hosts
            .iter()
            .fold(request, |request, host| request.header("host", *host));
        let response = host.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), status, "{version:?} {hosts:?}");
    };
    check(Version::HTTP_11, &["a"], 404).await;
    check(Version::HTTP_11, &[], 400).await;
    check(Version::HTTP_11, &["a", "a"], 400).await;
    check(Version::HTTP_10, &[], 404).await;
}

#[tokio::test]
async fn every_request_is_counted_under_its_operation() {
    let host = Host::start().await;
    host.ask("POST", "/v1/acme/names").await;
    host.ask("HEAD", "/v1/acme/names/n").await;
    host.ask("DELETE", "/v1/broken/names/n").await;
    host.ask("GET", "/v1/acme/log").await;
    host.ask("POST", "/v1/acme/log").await;
    host.ask("GET", "/nothing").await;
    host.ask("PUT", "/v1/acme/names/n").await;
    let text = host.metrics();
    for line in [
        r#"namelock_requests_total{operation="register",code="unknown_tenant"} 1"#,
        r#"namelock_requests_total{operation="find",code="unknown_tenant"} 1"#,
        r#"namelock_requests_total{operation="free",code="tenant_unavailable"} 1"#,
        r#"namelock_requests_total{operation="other",code="not_found"} 1"#,
        r#"namelock_requests_total{operation="log",code="unknown_tenant"} 1"#,
        r#"namelock_requests_total{operation="other",code="unsupported"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
