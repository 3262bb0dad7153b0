//! A request to register a name, from its head to its answer: the routes that `serve` has, without sockets, with locks in this
//! process and names that nobody keeps.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use namelock::admission::Calls;
use namelock::config::Limits;
use namelock::http::{App, BodyLimits, Follows, router};
use namelock::tenants::{Rules, Tenants, directory};
use namelock_bench_check::round;
use namelock_bench_check::thing::Thing;
use namelock_calls::forgetful::Forgetful;
use namelock_calls::stage::{self, PATIENCE};
use namelock_sandbox::Powers;
use tower::ServiceExt;

use super::rooms;

/// The longest answer, in bytes.
const ANSWER_MAX: usize = 4096;

pub(super) async fn measure(folder: &Path) -> anyhow::Result<()> {
    let router = host(folder).await?;
    for round in 0..round::ALL {
        let requests = (0..Thing::Registration.times()).map(|call| request(round, call));
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        let mut answers = Vec::with_capacity(requests.len());
        round::boundary();
        for request in requests {
            let answer = router.clone().oneshot(request).await?;
            let status = answer.status();
            answers.push((status, to_bytes(answer.into_body(), ANSWER_MAX).await));
        }
        round::boundary();
        for (status, body) in answers {
            let body = body?;
            let said = String::from_utf8_lossy(&body);
            ensure!(
                status == StatusCode::CREATED,
                "a registration was answered {status}: {said}"
            );
        }
    }
    Ok(())
}

fn request(round: usize, call: u64) -> anyhow::Result<Request> {
    let body = format!(
        r#"{{"name":"Blue Room {round:03} {call:03}","owner":"ann","lifetime_ms":3600000,"attributes":{{"floor":"2"}}}}"#
    );
    let request = Request::post("/v1/demo/names")
        .header("host", "127.0.0.1:8080")
        .header("content-type", "application/json")
        .header("x-request-id", "request-1")
        .body(Body::from(body));
    request.context("cannot make a request")
}

/// The routes of a host with one tenant.
async fn host(folder: &Path) -> anyhow::Result<Router> {
    let tenants = folder.join("tenants");
    fs::create_dir_all(tenants.join("demo"))?;
    fs::copy(namelock_test_artifacts::ROOMS, tenants.join("demo/handler.wasm"))?;
    let mut limits = Limits::default();
    (limits.call.wall_time, limits.call.cpu_time) = (PATIENCE, PATIENCE);
    let rules = Rules {
        defaults: &limits,
        max: &limits,
        hold_max: Duration::MAX,
        shared_namespace: &[],
    };
    let candidates = directory::scan(&tenants, &rules, &folder.join("cache"))?;
    let tenants = Tenants::new(rooms::sandbox(folder)?);
    tenants.load(candidates).await;
    let app = App {
        tenants: Arc::new(tenants),
        powers: Powers {
            locks: stage::locks()?,
            names: Arc::new(Forgetful::default()),
        },
        calls: Calls::new(1, 1, PATIENCE),
        metrics: Arc::default(),
        faults: Arc::default(),
        recorder: None,
        follows: Follows::new(1),
        tracer: None,
        body: BodyLimits {
            max: 64 << 10,
            timeout: PATIENCE,
        },
    };
    Ok(router(Arc::new(app)))
}
