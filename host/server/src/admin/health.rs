//! Whether the host is ready to serve.

use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::answer::json;
use super::host::Admin;
use crate::readiness::backends;

/// The answer of `/readyz`: whether this host can serve requests, and every reason why not.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    part: &'static str,
    reason: String,
}

pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let host = if admin.draining.is_cancelled() {
        Err("stopping".to_owned())
    } else if !admin.accepting.load(Relaxed) {
        Err("loading its tenants".to_owned())
    } else {
        Ok(())
    };
    let [lock, names] = admin.backends().await;
    let reasons = [("host", host), lock, names].into_iter().filter_map(|(part, check)| {
        Some(Reason {
            part,
            reason: check.err()?,
        })
    });
    let reasons: Vec<_> = reasons.collect();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let ready = reasons.is_empty();
    json(status, &Readiness { ready, reasons })
}

impl Admin {
    /// Asks the services that the host needs; of each, why it does not answer.
    pub(super) async fn backends(&self) -> [(&'static str, Result<(), String>); 2] {
        backends(&self.locks, &*self.names).await
    }
}
