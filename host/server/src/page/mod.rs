//! The page of the admin listener: what an operator looks at.
//!
//! Three files that are in the binary as they stand in `host/server/page`: no build step, no framework, and nothing from the net.
//! The script asks for `/overview` once a second and shows it; what it does beyond looking, the host checks (`same_site`).

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The page loads its own three files and asks its own host, and nothing else; nobody shows it in a frame of his.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files with their paths and types.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../../page/index.html")),
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("../../page/page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("../../page/page.js"),
    ),
    ("/icon.svg", "image/svg+xml", include_str!("../../page/icon.svg")),
];

/// The routes of the page. They tell nothing of the host, so they need no token.
pub fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, text)))
    })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        // A new version of the host has a new page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
