//! Requests as spans in OTLP, named by the semantic conventions of OpenTelemetry for HTTP servers (1.x, stable).
//!
//! A request is a span of the kind *server*, and each of its phases one within it. The path stands there as its template
//! (`http.route`) and never as it is (`url.path`): names and owners are what people chose, and a collector is not asked to keep them.

use std::time::{Duration, SystemTime};

use axum::http::{Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};

use super::parent::SpanId;
use super::request::{Ended, new_span_id};
use crate::hex::hex;

/// What `http.request.method` says of a method that is not in the standards.
const OTHER_METHOD: &str = "_OTHER";

/// What all spans of a host have in common.
#[derive(Debug)]
pub(super) struct Origin(Resource);

impl Origin {
    /// That of a host that starts now.
    pub(super) fn new() -> Self {
        let instance: [u8; 16] = rand::random();
        let attributes = vec![
            text("service.name", "namelock"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", hex(&instance)),
            number("process.pid", std::process::id().into()),
        ];
        Self(Resource {
            attributes,
            ..Resource::default()
        })
    }

    /// The message that has the spans of these requests.
    pub(super) fn message(&self, batch: Vec<Ended>) -> ExportTraceServiceRequest {
        let Self(resource) = self;
        let scope = InstrumentationScope {
            name: "namelock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let of_scope = ScopeSpans {
            scope: Some(scope),
            spans: batch.into_iter().flat_map(spans).collect(),
            ..ScopeSpans::default()
        };
        let of_resource = ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![of_scope],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![of_resource],
        }
    }
}

/// The spans of a request, its own first.
pub(super) fn spans(ended: Ended) -> Vec<Span> {
    let Ended { traced, end } = ended;
    let about = &traced.about;
    let method = match about.method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            about.method.as_str()
        }
        Method::OPTIONS | Method::CONNECT | Method::TRACE => about.method.as_str(),
        _ => OTHER_METHOD,
    };
    let route = about.route.as_ref().map(|route| route.as_str());
    let verb = if method == OTHER_METHOD { "HTTP" } else { method };
    let name = route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}"));
    let failed = end.status.is_some_and(|status| status.is_server_error());

    let mut attributes = vec![text("http.request.method", method)];
    attributes.extend(route.map(|route| text("http.route", route)));
    attributes.extend(version(about.version).map(|version| text("network.protocol.version", version)));
    attributes.extend(
        end.status
            .map(|status| number("http.response.status_code", status.as_u16().into())),
    );
    attributes.extend(failed.then(|| text("error.type", end.code)));
    attributes.extend(about.tenant.as_deref().map(|tenant| text("namelock.tenant", tenant)));
    attributes.extend(
        about
            .component
            .map(|digest| text("namelock.component", digest.to_string())),
    );
    attributes.push(text("namelock.operation", end.operation));
    attributes.push(text("namelock.code", end.code));
    attributes.push(text("namelock.request_id", &*about.request_id));
    if end.timeline.left_out > 0 {
        let left_out = i64::try_from(end.timeline.left_out).unwrap_or(i64::MAX);
        attributes.push(number("namelock.phases_left_out", left_out));
        let seconds = end.timeline.left_out_time.as_secs_f64();
        attributes.push(attribute(
            "namelock.phases_left_out_seconds",
            Value::DoubleValue(seconds),
        ));
    }

    let phase = |name: String, parent: SpanId, began: Duration, took: Duration| Span {
        trace_id: traced.trace_id.0.into(),
        span_id: new_span_id().0.into(),
        parent_span_id: parent.0.into(),
        flags: flags(false),
        name,
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: unix_nanos(traced.began, began),
        end_time_unix_nano: unix_nanos(traced.began, began + took),
        ..Span::default()
    };
    let own = Span {
        span_id: traced.span_id.0.into(),
        parent_span_id: traced.parent.map(|parent| parent.0.into()).unwrap_or_default(),
        trace_state: about.state.clone(),
        flags: flags(traced.parent.is_some()),
        kind: SpanKind::Server.into(),
        attributes,
        status: failed.then(|| Status {
            message: end.code.to_owned(),
            code: StatusCode::Error.into(),
        }),
        ..phase(name, traced.span_id, Duration::ZERO, end.took)
    };
    let segments = end.timeline.segments.iter();
    let phases = segments.map(|segment| {
        let name = segment.phase.label().to_owned();
        phase(name, traced.span_id, segment.began, segment.took)
    });
    std::iter::once(own).chain(phases).collect()
}

/// The flags of a span: that it is sampled, and whether its parent is a span of another process.
fn flags(parent_is_remote: bool) -> u32 {
    const SAMPLED: u32 = 1;
    let remote = if parent_is_remote {
        SpanFlags::ContextIsRemoteMask as u32
    } else {
        0
    };
    SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// When something happened so long after the request began, in nanoseconds since 1970. The clock is looked at once for a
/// request, so that a step of it makes no phase longer or negative.
fn unix_nanos(began: SystemTime, after: Duration) -> u64 {
    let since = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from((since + after).as_nanos()).unwrap_or(u64::MAX)
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
