//! One that follows a log, and what it reads.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::fixture::{DEADLINE, Host};

/// One event of a log.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) kind: String,
    pub(super) data: Value,
}

impl Event {
    /// Reads a block of lines; none: it has only comments, or tells when to come back.
    pub(super) fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut found = block.lines().filter_map(|line| line.strip_prefix(name));
            let value = found.next()?;
            assert_eq!(found.next(), None, "{block:?}");
            Some(value.trim_start())
        };
        let data = field("data:")?;
        Some(Self {
            number: field("id:").unwrap().parse().unwrap(),
            kind: field("event:").unwrap().to_owned(),
            data: serde_json::from_str(data).unwrap(),
        })
    }

    /// The end of the request with this id.
    pub(super) fn ends(&self, request_id: &str) -> bool {
        self.kind == "request" && self.data["request_id"] == request_id
    }
}

/// Events as they come, read from any stream.
#[derive(Default)]
pub(super) struct Events {
    pub(super) bytes: Vec<u8>,
    /// What of it was given already.
    pub(super) given: usize,
    pub(super) comments: Vec<String>,
}

impl Events {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event that has come whole.
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            let rest = &self.bytes[self.given..];
            let end = rest.windows(2).position(|two| two == b"\n\n")?;
            let block = std::str::from_utf8(&rest[..end]).unwrap();
            let comments = block.lines().filter_map(|line| line.strip_prefix(':'));
            self.comments.extend(comments.map(|text| text.trim_start().to_owned()));
            self.given += end + 2;
            if let Some(event) = Event::parse(block) {
                return Some(event);
            }
        }
    }
}

/// One that follows a log, and reads it.
pub(super) struct Follower {
    pub(super) answer: reqwest::Response,
    pub(super) events: Events,
}

pub(super) async fn ask(host: &Host, method: Method, path: &str, secret: Option<&str>) -> reqwest::Response {
    let mut request = Client::new().request(method, format!("{}{path}", host.url));
    if let Some(secret) = secret {
        request = request.bearer_auth(secret);
    }
    request.send().await.unwrap()
}

impl Follower {
    /// Follows the log of a tenant. The first event is the end of this very request.
    pub(super) async fn begin(host: &Host, tenant: &str, secret: Option<&str>) -> Self {
        let answer = ask(host, Method::GET, &format!("/v1/{tenant}/log"), secret).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut follower = Self {
            answer,
            events: Events::default(),
        };
        let first = follower.next().await.unwrap();
        assert_eq!(
            (first.kind.as_str(), &first.data["operation"]),
            ("request", &json!("log"))
        );
        follower
    }

    /// Waits until more has come; false: the log has ended.
    pub(super) async fn read(&mut self) -> bool {
        let chunk = tokio::time::timeout(DEADLINE, self.answer.chunk()).await;
        let chunk = chunk.expect("nothing came for as long as a test waits").unwrap();
        if let Some(chunk) = &chunk {
            self.events.add(chunk);
        }
        chunk.is_some()
    }

    /// The next event; none: the log has ended.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.next() {
                return Some(event);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// All events up to the end of the request with this id.
    pub(super) async fn until(&mut self, request_id: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.unwrap();
            let last = event.ends(request_id);
            events.push(event);
            if last {
                return events;
            }
        }
    }

    /// Checks that the log ends, with this last comment.
    pub(super) async fn has_ended(&mut self, why: &str) {
        while self.next().await.is_some() {}
        assert_eq!(self.events.comments.last().map(String::as_str), Some(why));
    }
}
