//! What a follower of a log is sent, as server-sent events whose data is one line of JSON.
//!
//! Handlers and callers choose texts in it, so whatever could end the line or act on a terminal is escaped.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::response::sse;
use namelock_sandbox::feed::{Dropped, Event, Line, What, Writer};
use namelock_sandbox::{Phase, phases::Times};
use namelock_types::milliseconds;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::Formatter;

use crate::telemetry::RequestEnd;
use crate::tenants::Ready;

/// The data of the event `line`.
#[derive(serde::Serialize)]
struct LineData<'a> {
    time_ms: u64,
    request_id: &'a str,
    /// Of its caller's trace, or of the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// `handler` or `host`.
    from: &'static str,
    text: &'a str,
}

/// The data of the event `request`.
#[derive(serde::Serialize)]
struct RequestData<'a> {
    time_ms: u64,
    request_id: &'a str,
    /// Of its caller's trace, or of the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    operation: &'static str,
    code: &'static str,
    /// What the caller was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    duration_ms: f64,
    phases_ms: PhasesMs<'a>,
    /// The SHA-256 of the component, if it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
}

/// The data of the event `dropped`.
#[derive(serde::Serialize)]
struct DroppedData {
    events: u64,
}

/// The phases that took any time.
struct PhasesMs<'a>(&'a Times);

impl Serialize for PhasesMs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let took = Phase::ALL.into_iter().zip(self.0).filter(|(_, time)| !time.is_zero());
        let mut map = serializer.serialize_map(None)?;
        for (phase, time) in took {
            map.serialize_entry(phase.label(), &(time.as_micros() as f64 / 1e3))?;
        }
        map.end()
    }
}

/// Tells those who follow the log of a tenant that a request has ended; `detail` is what its caller was told of its failure.
// Keeps P6: what is told of requests has a budget, so many bytes in a second.
pub(crate) fn ended(ready: &Ready, end: &RequestEnd<'_>, detail: Option<&str>) {
    let (feed, account) = (&ready.tenant.feed, &ready.tenant.account);
    if feed.followers() == 0 {
        return;
    }
    let data = RequestData {
        time_ms: unix_ms(SystemTime::now()),
        request_id: end.request_id,
        trace_id: end.trace_id.map(|id| id.to_string()),
        operation: end.operation.label(),
        code: end.outcome.label(),
        detail,
        duration_ms: end.phases.iter().sum::<std::time::Duration>().as_micros() as f64 / 1e3,
        phases_ms: PhasesMs(end.phases),
        component: end.component,
    };
    let text = json(&data);
    if account.tell(text.len()) {
        feed.tell(|| What::Request(text.into()));
    } else {
        feed.lost(1);
    }
}

/// What a follower is sent of an event.
pub(super) fn told(event: &Event) -> sse::Event {
    match &event.what {
        What::Line(line) => numbered(event.number, "line").data(line_data(line)),
        What::Request(data) => numbered(event.number, "request").data(data),
    }
}

/// What it is sent in place of events that were dropped.
pub(super) fn dropped(Dropped { last, events }: Dropped) -> sse::Event {
    numbered(last, "dropped").data(json(&DroppedData { events }))
}

fn numbered(number: u64, kind: &'static str) -> sse::Event {
    sse::Event::default().id(number.to_string()).event(kind)
}

fn line_data(line: &Line) -> String {
    json(&LineData {
        time_ms: unix_ms(line.at),
        request_id: &line.request_id,
        trace_id: line.trace_id.map(|id| id.to_string()),
        from: match line.from {
            Writer::Handler => "handler",
            Writer::Host => "host",
        },
        text: &line.text,
    })
}

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

/// Writes a value as JSON on one line of characters that can be printed.
fn json(value: &impl serde::Serialize) -> String {
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Printable);
    // Texts and numbers can always be written to memory.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Escapes what cannot be printed, beyond what JSON asks for: marks that turn the direction of a text, line separators, and
/// control characters that are not ASCII.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut printable = 0;
        for (at, character) in fragment
            .char_indices()
            .filter(|(_, character)| !is_printable(*character))
        {
            writer.write_all(&fragment.as_bytes()[printable..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            printable = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[printable..])
    }
}

/// Whether a character may stand in a JSON string as it is. Quotes and backslashes never come here: JSON itself escapes them.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~') || (!character.is_ascii() && character.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    fn line(text: &str) -> Line {
        Line {
            at: UNIX_EPOCH + Duration::from_millis(1500),
            request_id: "r".into(),
            trace_id: None,
            from: Writer::Handler,
            text: text.into(),
        }
    }

    // Shows P6: whatever a handler writes, it is one line of data, and means what was written.
    #[test]
    fn no_text_ends_its_line_or_acts_on_a_terminal() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        for text in [
            "\n\nevent: x\r\rdata: y\r\n",
            "\u{1b}[2J \u{9b} \u{202e}\u{2028}\u{85}\u{7f}",
            "a\"\\é😀",
            &all,
        ] {
            let data = line_data(&line(text));
            assert!(
                data.chars().all(is_printable),
                "{:?}",
                data.chars().find(|character| !is_printable(*character))
            );
            let read: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(read["text"], text);
            assert_eq!(
                (&read["time_ms"], &read["from"]),
                (&Value::from(1500), &Value::from("handler"))
            );
        }
        assert!(line_data(&line("é😀 日本")).contains("é😀 日本"));
    }
}
