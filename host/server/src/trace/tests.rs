use std::time::Duration;

use axum::http::{Method, StatusCode, Version};
use namelock_sandbox::phases::{Segment, Timeline};
use namelock_sandbox::{Phase, TraceId};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;

use super::*;

/// A tracer of which nobody sends anything.
fn tracer(config: &TraceConfig) -> (Tracer, Exporter) {
    let url = "http://127.0.0.1:1".parse().unwrap();
    Tracer::open(&url, config).unwrap()
}

fn parent(sampled: bool) -> Parent {
    Parent {
        trace_id: TraceId([7; 16]),
        span_id: SpanId([8; 8]),
        sampled,
    }
}

fn about() -> About {
    About {
        method: Method::POST,
        route: None,
        version: Version::HTTP_11,
        request_id: "request-1".into(),
        tenant: Some("demo".to_owned()),
        component: None,
        state: "a=1".to_owned(),
    }
}

fn end(timeline: Timeline) -> End {
    End {
        operation: "register",
        code: "ok",
        status: Some(StatusCode::CREATED),
        took: Duration::from_millis(5),
        timeline,
    }
}

/// How many of so many requests are traced.
fn traced(tracer: &Tracer, parent: Option<&Parent>, requests: usize) -> usize {
    let begun = (0..requests).filter_map(|_| tracer.begin(parent, about));
    begun.count()
}

fn text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_callers_decision_is_followed() {
    let (all, _exporter) = tracer(&TraceConfig {
        one_in: 1,
        ..TraceConfig::default()
    });
    assert_eq!(traced(&all, Some(&parent(false)), 10), 0);
    assert_eq!(traced(&all, None, 10), 10);
    let (none, _exporter) = tracer(&TraceConfig {
        one_in: 0,
        ..TraceConfig::default()
    });
    assert_eq!(traced(&none, None, 1000), 0);
    assert_eq!(traced(&none, Some(&parent(true)), 10), 10);
}

#[test]
fn one_in_so_many_requests_without_a_trace_is_traced() {
    let (tracer, _exporter) = tracer(&TraceConfig {
        one_in: 10,
        rate: 10_000,
        ..TraceConfig::default()
    });
    // Sixteen standard deviations around a thousand.
    let traced = traced(&tracer, None, 10_000);
    assert!((520..1480).contains(&traced), "{traced}");
}

// Shows P6: callers that ask for traces as fast as they can get no more than trace.rate, and leave the host its own.
#[test]
fn callers_cannot_use_up_the_traces_of_the_host() {
    let (tracer, _exporter) = tracer(&TraceConfig {
        one_in: 1,
        rate: 1,
        ..TraceConfig::default()
    });
    let began = Instant::now();
    let of_callers = traced(&tracer, Some(&parent(true)), 1000);
    let at_most = 2 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!((1..=at_most).contains(&of_callers), "{of_callers}");
    assert_eq!(tracer.figures().counts().over_rate, 1000 - of_callers as u64);
    assert_eq!(traced(&tracer, None, 1), 1);
}

// Shows P6: what finds no room in the queue is counted and dropped.
#[test]
fn a_trace_that_finds_no_room_is_dropped() {
    let (tracer, _exporter) = tracer(&TraceConfig {
        one_in: 1,
        queue: 2,
        ..TraceConfig::default()
    });
    let segment = Segment {
        phase: Phase::Guest,
        began: Duration::ZERO,
        took: Duration::from_millis(1),
    };
    let timeline = Timeline {
        segments: vec![segment; 3],
        ..Timeline::default()
    };
    let queued = [true, true, false, false];
    for expect in queued {
        let begun = tracer.begin(None, about).unwrap();
        assert_eq!(tracer.end(begun.end(end(timeline.clone()))), expect);
    }
    let figures = tracer.figures();
    assert_eq!((figures.counts().queue_full, figures.pending()), (8, 8));
}

#[test]
fn a_request_is_a_span_with_its_phases_within() {
    let parent = parent(true);
    let segment = |phase, began, took| Segment {
        phase,
        began: Duration::from_millis(began),
        took: Duration::from_millis(took),
    };
    let timeline = Timeline {
        segments: vec![segment(Phase::Queue, 0, 2), segment(Phase::Answer, 2, 3)],
        ..Timeline::default()
    };
    let spans = spans::spans(Traced::begin(Some(&parent), about()).end(end(timeline)));
    let [server, queue, answer] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert!(spans.iter().all(|span| span.trace_id == parent.trace_id.0));
    assert_eq!((server.name.as_str(), server.kind()), ("POST", SpanKind::Server));
    assert_eq!(server.parent_span_id, parent.span_id.0);
    assert_eq!((server.trace_state.as_str(), server.flags), ("a=1", 0x301));
    assert_eq!(text(server, "http.response.status_code").as_deref(), Some("201"));
    assert_eq!((text(server, "error.type"), &server.status), (None, &None));
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 5_000_000);
    for (span, name) in [(queue, "queue"), (answer, "answer")] {
        assert_eq!((span.name.as_str(), span.kind()), (name, SpanKind::Internal));
        assert_eq!((&span.parent_span_id, span.flags), (&server.span_id, 0x101));
    }
    assert_eq!(queue.start_time_unix_nano, server.start_time_unix_nano);
    assert_eq!(answer.end_time_unix_nano, server.end_time_unix_nano);
    assert!(queue.span_id != answer.span_id && queue.span_id != server.span_id);
}

#[test]
fn a_fault_of_the_host_is_an_error_and_a_callers_is_none() {
    let span = |status: Option<StatusCode>, code| {
        let end = End {
            status,
            code,
            ..end(Timeline::default())
        };
        spans::spans(Traced::begin(None, about()).end(end)).remove(0)
    };
    let failed = span(Some(StatusCode::SERVICE_UNAVAILABLE), "lock_unavailable");
    assert_eq!(
        failed.status.as_ref().map(|status| status.code()),
        Some(SpanStatus::Error)
    );
    assert_eq!(text(&failed, "error.type").as_deref(), Some("lock_unavailable"));
    assert!(failed.parent_span_id.is_empty());
    assert_eq!(span(Some(StatusCode::CONFLICT), "name_taken").status, None);
    let gone = span(None, "client_gone");
    assert_eq!((text(&gone, "http.response.status_code"), &gone.status), (None, &None));
    assert_eq!(text(&gone, "namelock.code").as_deref(), Some("client_gone"));
}

#[test]
fn a_span_says_how_many_phases_it_leaves_out() {
    let timeline = Timeline {
        left_out: 3,
        left_out_time: Duration::from_millis(2),
        ..Timeline::default()
    };
    let spans = spans::spans(Traced::begin(None, about()).end(end(timeline)));
    assert_eq!(text(&spans[0], "namelock.phases_left_out").as_deref(), Some("3"));
}

#[test]
fn a_method_that_nobody_knows_makes_no_name_of_its_own() {
    let about = About {
        method: Method::from_bytes(b"BREW").unwrap(),
        ..about()
    };
    let spans = spans::spans(Traced::begin(None, about).end(end(Timeline::default())));
    assert_eq!(spans[0].name, "HTTP");
    assert_eq!(text(&spans[0], "http.request.method").as_deref(), Some("_OTHER"));
}
