//! The APIs as `docs/openapi.yaml` and `docs/admin.openapi.yaml` describe them: every example is run against a host, and nothing is
//! left out.

use std::collections::BTreeSet;
use std::fs;

use namelock_test_artifacts::{ROOMS, guests};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::fixture::{Builder, Host};

const YAML: &str = include_str!("../../docs/openapi.yaml");
const JSON: &str = include_str!("../../docs/openapi.json");
const ADMIN_YAML: &str = include_str!("../../docs/admin.openapi.yaml");
const ADMIN_JSON: &str = include_str!("../../docs/admin.openapi.json");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The key of a list of examples that can be run; the document says what they mean.
const EXAMPLES: &str = "x-namelock-example";

fn document() -> Value {
    serde_json::from_str(JSON).unwrap()
}

fn admin_document() -> Value {
    serde_json::from_str(ADMIN_JSON).unwrap()
}

#[test]
fn the_json_is_the_yaml() {
    let check = |name: &str, yaml: &str, json: Value| {
        let yaml: Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(yaml, json, "make docs/{name}.json anew, as docs/{name}.yaml says");
    };
    check("openapi", YAML, document());
    check("admin.openapi", ADMIN_YAML, admin_document());
}

#[tokio::test]
async fn every_route_of_the_admin_listener_is_described_and_every_described_one_is_there() {
    let host = Builder::new().demo().start();
    let document = admin_document();
    let described = document["paths"].as_object().unwrap();
    let paths: BTreeSet<_> = described.keys().map(String::as_str).collect();
    assert_eq!(paths, namelock::admin::paths().collect());
    let methods = ["get", "put", "post", "delete", "patch"];
    for (path, operations) in described {
        let url = format!("{}{}", host.admin, path.replace("{id}", "7"));
        // Nobody has this method, so the answer lists those that there are.
        let answer = Client::new()
            .request("PURGE".parse().unwrap(), url)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<_> = allowed.split(',').filter(|method| *method != "head").collect();
        let described: BTreeSet<_> = methods
            .into_iter()
            .filter(|method| operations.get(method).is_some())
            .collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[test]
fn every_code_is_described() {
    let described = document();
    let described = &described["components"]["schemas"]["Code"]["enum"];
    let mut described: Vec<_> = described
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    let mut all = namelock::error::ErrorKind::ALL.map(namelock::error::ErrorKind::label);
    described.sort_unstable();
    all.sort_unstable();
    assert_eq!(described, all);
}

#[tokio::test]
async fn every_example_is_answered_as_it_says() {
    every_example_holds(&document(), 50, |host| &host.url).await;
}

#[tokio::test]
async fn every_example_of_the_admin_listener_is_answered_as_it_says() {
    every_example_holds(&admin_document(), 25, |host| &host.admin).await;
}

async fn every_example_holds(document: &Value, more_than: usize, listener: impl Fn(&Host) -> &str) {
    let mut examples = Vec::new();
    find(document, &mut examples);
    assert!(examples.len() > more_than, "{}", examples.len());
    for example in &examples {
        let host = start(&example["given"]);
        for request in example["before"].as_array().into_iter().flatten() {
            let status = send(listener(&host), request).await.status();
            assert!(status.is_success(), "{}: {status} to {request}", example["name"]);
        }
        check(example, send(listener(&host), &example["request"]).await).await;
    }
}

#[tokio::test]
async fn a_host_serves_its_description() {
    let host = Builder::new().demo().start();
    let answer = host.admin("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, document()));
    let answer = host.admin("/admin/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, admin_document()));
}

/// Collects the examples in a part of the document.
fn find(part: &Value, examples: &mut Vec<Value>) {
    match part {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_array().filter(|_| key == EXAMPLES) {
                    Some(list) => examples.extend(list.iter().cloned()),
                    None => find(value, examples),
                }
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| find(part, examples)),
        _ => {}
    }
}

fn start(given: &Value) -> Host {
    let settings = given["tenant_toml"].as_str().unwrap_or_default();
    let builder = match given["handler"].as_str() {
        Some("grow_memory") => Builder::new().tenant("demo", guests::GROW_MEMORY, settings),
        Some(path) => Builder::new().tenant_bytes("demo", &fs::read(format!("{ROOT}/{path}")).unwrap(), settings),
        None => Builder::new().tenant("demo", ROOMS, settings),
    };
    builder.config(given["host_toml"].as_str().unwrap_or_default()).start()
}

async fn send(listener: &str, request: &Value) -> reqwest::Response {
    let method: Method = request["method"].as_str().unwrap().parse().unwrap();
    let url = format!("{listener}{}", request["path"].as_str().unwrap());
    let mut sent = Client::new().request(method, url);
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        sent = sent.header(name, value.as_str().unwrap());
    }
    sent = match (&request["body"], &request["text"], &request["spaces"]) {
        (Value::Null, Value::Null, Value::Null) => sent,
        (Value::Null, Value::Null, spaces) => sent.body(" ".repeat(usize::try_from(spaces.as_u64().unwrap()).unwrap())),
        (Value::Null, text, _) => sent.body(text.as_str().unwrap().to_owned()),
        (body, ..) => sent.json(body),
    };
    sent.send().await.unwrap()
}

async fn check(example: &Value, answer: reqwest::Response) {
    let (name, expect) = (&example["name"], &example["response"]);
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    assert_eq!(Value::from(status.as_u16()), expect["status"], "{name}: {text}");
    for (header, value) in expect["headers"].as_object().into_iter().flatten() {
        let found = headers.get(header).map(|value| value.to_str().unwrap());
        assert!(is(value, &found.into()), "{name}: {header} is {found:?}, not {value}");
    }
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    let expected = expect.get("body").unwrap_or(&Value::Null);
    assert!(is(expected, &body), "{name}: the body is {body}, not {expected}");
}

/// Whether a value is the one that is expected, in which `"*"` stands for any but `null`.
fn is(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), found) if any == "*" => !found.is_null(),
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .all(|(key, value)| found.get(key).is_some_and(|found| is(value, found)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| is(expected, found))
        }
        (expected, found) => expected == found,
    }
}
