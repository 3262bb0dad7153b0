//! Traces, from a caller's `traceparent` to a collector and to the log.

mod collector;

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use hyper::StatusCode;
use namelock_test_artifacts::guests;
use namelock_test_servers::Memcached;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use self::collector::{Collector, Manner, attribute, config, hex};
use crate::fixture::{Answer, Builder, DEADLINE, Host, eventually};

/// The span of the caller.
const CALLER: &str = "00f067aa0ba902b7";

/// The id of a trace with a number.
fn trace_id(number: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{number:08x}")
}

/// What a caller sends that traces its request.
fn sampled(number: u32) -> String {
    format!("00-{}-{CALLER}-01", trace_id(number))
}

/// Registers a name with a `traceparent`.
async fn post_traced(host: &Host, tenant: &str, name: &str, traceparent: &str) -> Answer {
    let body = json!({ "name": name, "owner": "ann" }).to_string();
    host.send(|client, url| {
        client
            .post(format!("{url}/v1/{tenant}/names"))
            .header("traceparent", traceparent)
            .header("tracestate", "vendor=1")
            .body(body)
    })
    .await
}

async fn metrics(host: &Host) -> String {
    let answer = host.send(|client, _| {
        let accept = "application/openmetrics-text; version=1.0.0";
        client.get(format!("{}/metrics", host.admin)).header("accept", accept)
    });
    answer.await.body.as_str().unwrap().to_owned()
}

async fn metric(host: &Host, series: &str) -> u64 {
    let metrics = metrics(host).await;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("{series} is not in\n{metrics}"));
    value.parse().unwrap()
}

const SENT: &str = "namelock_trace_spans_sent_total";
const QUEUE_FULL: &str = "namelock_trace_spans_dropped_total{reason=\"queue_full\"}";
const NOT_TAKEN: &str = "namelock_trace_spans_dropped_total{reason=\"not_taken\"}";
const OVER_RATE: &str = "namelock_traces_over_rate_total";

/// The lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[tokio::test]
async fn a_trace_that_a_caller_began_has_a_span_for_each_phase() {
    let (memcached, collector) = (Memcached::start(), Collector::start(Manner::Takes).await);
    let builder = Builder::new().lock(&memcached).config(&collector.config("one_in = 0"));
    let host = builder.demo().start();
    host.wait_until_ready();
    assert_eq!(post_traced(&host, "demo", "room", &sampled(1)).await.status, 201);

    let spans = collector.trace(&trace_id(1)).await;
    let (server, phases) = spans.split_first().unwrap();
    assert_eq!(
        (server.name.as_str(), server.kind()),
        ("POST /v1/{tenant}/names", SpanKind::Server)
    );
    assert_eq!(hex(&server.parent_span_id), CALLER);
    assert_eq!((server.trace_state.as_str(), &server.status), ("vendor=1", &None));
    let component = host.tenant_status("demo").await["component"]
        .as_str()
        .unwrap()
        .to_owned();
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/{tenant}/names"),
        ("http.response.status_code", "201"),
        ("network.protocol.version", "1.1"),
        ("namelock.tenant", "demo"),
        ("namelock.operation", "register"),
        ("namelock.code", "ok"),
        ("namelock.component", &component),
    ] {
        assert_eq!(attribute(&server.attributes, key).as_deref(), Some(value), "{key}");
    }
    let resource = collector.resource();
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("namelock"));
    assert!(attribute(&resource, "service.instance.id").is_some());

    let names: Vec<_> = phases.iter().map(|span| span.name.as_str()).collect();
    for phase in [
        "queue",
        "instantiate",
        "guest",
        "acquire",
        "find",
        "save",
        "release",
        "answer",
    ] {
        assert!(names.contains(&phase), "{phase} is not in {names:?}");
    }
    // One after the other, from the beginning of the request to its end.
    let mut at = server.start_time_unix_nano;
    for span in phases {
        assert_eq!(span.parent_span_id, server.span_id, "{span:?}");
        assert_eq!(
            (span.kind(), span.start_time_unix_nano),
            (SpanKind::Internal, at),
            "{names:?}"
        );
        assert!(span.end_time_unix_nano > at, "{span:?}");
        at = span.end_time_unix_nano;
    }
    assert_eq!(at, server.end_time_unix_nano);

    eventually("what was sent is counted", async || {
        metric(&host, SENT).await == spans.len() as u64
    })
    .await;
    let metrics = metrics(&host).await;
    let exemplar = format!("operation=\"register\"}} 1 # {{trace_id=\"{}\"}} ", trace_id(1));
    assert!(metrics.contains(&exemplar), "{exemplar} is not in\n{metrics}");
}

#[tokio::test]
async fn a_request_is_followed_from_its_traceparent_to_the_tenants_log() {
    let collector = Collector::start(Manner::Takes).await;
    let builder = Builder::new().config(&collector.config("one_in = 0"));
    let builder = builder.tenant("broken", guests::LOG_THEN_TRAP, "");
    let mut command = builder.command();
    command.env("NAMELOCK_LOG_FORMAT", "json");
    let host = builder.start_command(command);
    let mut follow = reqwest::get(format!("{}/v1/broken/log", host.url)).await.unwrap();
    let answer = post_traced(&host, "broken", "room", &sampled(1)).await;
    answer.is_problem(500, "handler_trapped");
    let mut followed = String::new();
    while !followed.contains("\"code\":\"handler_trapped\"") {
        let chunk = tokio::time::timeout(DEADLINE, follow.chunk()).await.unwrap();
        followed.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    // What the handler has printed, why it broke down, and the end of the request.
    let of_trace = format!("\"trace_id\":\"{}\"", trace_id(1));
    assert!(followed.matches(&of_trace).count() >= 3, "{followed}");

    let spans = collector.trace(&trace_id(1)).await;
    let server = &spans[0];
    assert_eq!(
        attribute(&server.attributes, "error.type").as_deref(),
        Some("handler_trapped")
    );
    assert_eq!(server.status.as_ref().unwrap().message, "handler_trapped");
    let request_id = answer.body["request_id"].as_str().unwrap();
    assert_eq!(
        attribute(&server.attributes, "namelock.request_id").as_deref(),
        Some(request_id)
    );

    let lines = lines(&host.log());
    let of_trace: Vec<_> = lines.iter().filter(|line| line["trace_id"] == trace_id(1)).collect();
    assert!(
        of_trace.iter().all(|line| line["request_id"] == request_id),
        "{of_trace:?}"
    );
    let of_tenant = of_trace.iter().filter(|line| line["target"] == "guest");
    // What the handler has printed, and why it broke down.
    assert!(of_tenant.count() >= 2, "{lines:?}");
    let is_end = |line: &&&Value| line["code"] == "handler_trapped";
    assert!(of_trace.iter().any(|line| is_end(&line)), "{lines:?}");
}

#[tokio::test]
async fn the_log_names_the_trace_of_a_caller_also_where_nothing_is_traced() {
    let builder = Builder::new().tenant("broken", guests::LOG_THEN_TRAP, "");
    let mut command = builder.command();
    command.env("NAMELOCK_LOG_FORMAT", "json");
    let host = builder.start_command(command);
    let not_sampled = format!("00-{}-{CALLER}-00", trace_id(1));
    post_traced(&host, "broken", "room", &not_sampled)
        .await
        .is_problem(500, "handler_trapped");
    post_traced(&host, "broken", "room", "00-nothing")
        .await
        .is_problem(500, "handler_trapped");
    let lines = lines(&host.log());
    let ends: Vec<_> = lines.iter().filter(|line| line["code"] == "handler_trapped").collect();
    let traces: Vec<_> = ends.iter().map(|line| &line["trace_id"]).collect();
    assert_eq!(traces, [&json!(trace_id(1)), &Value::Null]);
    let printed = lines.iter().filter(|line| line["target"] == "guest");
    let traced = printed.filter(|line| line["trace_id"] == trace_id(1));
    assert!(traced.count() >= 2, "{lines:?}");
}

// Who waits for a host to stop keeps a thread, and the collector another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asks_to_trace_is_not_sent() {
    let collector = Collector::start(Manner::Takes).await;
    let mut host = Builder::new().config(&collector.config("one_in = 0")).demo().start();
    let not_sampled = format!("00-{}-{CALLER}-00", trace_id(1));
    assert_eq!(post_traced(&host, "demo", "room 1", &not_sampled).await.status, 201);
    assert_eq!(host.post("demo", "room 2", "ann").await.status, 201);
    assert_eq!(post_traced(&host, "demo", "room 3", "00-nothing").await.status, 201);
    assert_eq!(post_traced(&host, "demo", "room 4", &sampled(2)).await.status, 201);
    // What has ended before has been sent when the host has stopped.
    assert_eq!(host.stop(), Some(0));
    let traces: Vec<_> = collector.spans().iter().map(|span| hex(&span.trace_id)).collect();
    assert!(
        !traces.is_empty() && traces.iter().all(|id| *id == trace_id(2)),
        "{traces:?}"
    );
}

#[tokio::test]
async fn a_malformed_traceparent_begins_a_new_trace() {
    let collector = Collector::start(Manner::Takes).await;
    let host = Builder::new().config(&collector.config("one_in = 1")).demo().start();
    let malformed = format!("00-{}-0000000000000000-01", trace_id(1));
    assert_eq!(post_traced(&host, "demo", "room", &malformed).await.status, 201);
    eventually("the trace is sent", async || !collector.spans().is_empty()).await;
    let spans = collector.spans();
    assert!(spans[0].parent_span_id.is_empty(), "{spans:?}");
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    assert_ne!(hex(&spans[0].trace_id), trace_id(1));
}

// Shows P6: however many traces callers ask for, trace.rate bounds what is sent.
// Who waits for a host to stop keeps a thread, and the collector another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_traced_requests_is_bounded() {
    let collector = Collector::start(Manner::Takes).await;
    let mut host = Builder::new()
        .config(&collector.config("rate = 1\none_in = 0"))
        .demo()
        .start();
    let began = Instant::now();
    for number in 0..50 {
        assert_eq!(
            post_traced(&host, "demo", &format!("room {number}"), &sampled(number))
                .await
                .status,
            201
        );
    }
    let at_most = 2 + began.elapsed().as_secs();
    let over_rate = metric(&host, OVER_RATE).await;
    assert_eq!(host.stop(), Some(0));
    let servers = collector
        .spans()
        .iter()
        .filter(|span| span.kind() == SpanKind::Server)
        .count() as u64;
    assert!((1..=at_most).contains(&servers), "{servers}");
    assert_eq!(servers + over_rate, 50);
}

// Shows P6: a collector that is away costs spans, and no request.
#[tokio::test]
async fn a_collector_that_is_down_is_used_again_once_it_is_back() {
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host = Builder::new()
        .config(&config(&format!("http://{address}"), "one_in = 0"))
        .demo()
        .start();
    for number in 0..20 {
        assert_eq!(
            post_traced(&host, "demo", &format!("room {number}"), &sampled(number))
                .await
                .status,
            201
        );
    }
    eventually("what was not taken is counted", async || {
        metric(&host, NOT_TAKEN).await >= 100
    })
    .await;
    assert_eq!((metric(&host, SENT).await, metric(&host, QUEUE_FULL).await), (0, 0));
    let log = host.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("spans were dropped")).collect();
    assert!(told.len() == 1 && told[0].contains(&address.to_string()), "{log}");

    let collector = Collector::start_at(address, Manner::Takes).await;
    assert_eq!(post_traced(&host, "demo", "room", &sampled(99)).await.status, 201);
    collector.trace(&trace_id(99)).await;
}

// Shows P6: a collector that does not answer holds no more traces than trace.queue, no request, and not the stop of the host.
// Who waits for a host to stop keeps a thread, and the collector another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_slow_costs_spans_alone() {
    let collector = Collector::start(Manner::KeepsSilent).await;
    let config = collector.config("one_in = 0\nqueue = 1\ntimeout = \"3s\"");
    let mut host = Builder::new().config(&config).demo().start();
    let register = async |number: u32| {
        let answer = post_traced(&host, "demo", &format!("room {number}"), &sampled(number)).await;
        assert_eq!(answer.status, 201);
    };
    register(0).await;
    eventually("the first trace is being sent", async || collector.messages() == 1).await;
    let mut number = 0;
    eventually("the queue is full", async || {
        number += 1;
        register(number).await;
        metric(&host, QUEUE_FULL).await > 0
    })
    .await;
    eventually("it is not waited for longer than trace.timeout", async || {
        metric(&host, NOT_TAKEN).await > 0
    })
    .await;
    assert_eq!(metric(&host, SENT).await, 0);
    let messages = collector.messages();
    register(number + 1).await;
    eventually("another trace is being sent", async || collector.messages() > messages).await;
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted() {
    let collector = Collector::start(Manner::Refuses(2)).await;
    let host = Builder::new().config(&collector.config("one_in = 0")).demo().start();
    assert_eq!(post_traced(&host, "demo", "room", &sampled(1)).await.status, 201);
    let spans = collector.trace(&trace_id(1)).await.len() as u64;
    eventually("the refused ones are counted", async || {
        metric(&host, NOT_TAKEN).await == 2
    })
    .await;
    assert_eq!(metric(&host, SENT).await, spans - 2);

    let collector = Collector::start(Manner::Answers(StatusCode::SERVICE_UNAVAILABLE)).await;
    let host = Builder::new().config(&collector.config("one_in = 0")).demo().start();
    assert_eq!(post_traced(&host, "demo", "room", &sampled(1)).await.status, 201);
    let spans = collector.trace(&trace_id(1)).await.len() as u64;
    eventually("all are counted", async || metric(&host, NOT_TAKEN).await == spans).await;
    let log = host.log();
    assert!(log.contains("it answers 503"), "{log}");
}

// Who waits for a host to stop keeps a thread, and the collector another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_traces_are_sent_when_a_host_stops() {
    let collector = Collector::start(Manner::Takes).await;
    let mut host = Builder::new()
        .config(&collector.config("one_in = 0\nevery = \"1m\""))
        .demo()
        .start();
    assert_eq!(post_traced(&host, "demo", "room", &sampled(1)).await.status, 201);
    assert_eq!(host.stop(), Some(0));
    assert!(!collector.spans().is_empty());
}

#[tokio::test]
async fn a_collector_with_tls_is_sent_traces_if_its_certificate_is_trusted() {
    let make = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (its, another) = (make(), make());
    let start = async |trusted: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let collector = Collector::start_with(&its).await;
        let builder = Builder::new().config(&collector.config("one_in = 0")).demo();
        let file = builder.folder().join("roots.pem");
        std::fs::write(&file, trusted.cert.pem()).unwrap();
        let mut command = builder.command();
        command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        let host = builder.start_command(command);
        assert_eq!(post_traced(&host, "demo", "room", &sampled(1)).await.status, 201);
        (host, collector)
    };
    let (_host, collector) = start(&its).await;
    collector.trace(&trace_id(1)).await;
    let (host, collector) = start(&another).await;
    eventually("what was not taken is counted", async || {
        metric(&host, NOT_TAKEN).await > 0
    })
    .await;
    assert_eq!(collector.messages(), 0);
    let log = host.log();
    assert!(
        log.contains("spans were dropped") && log.contains("certificate"),
        "{log}"
    );
}
