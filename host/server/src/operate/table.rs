//! What a host answers, as a table or a line for people.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::text::quoted;

/// Longest name of a lock that is shown, in bytes.
const NAME_MAX: usize = 80;

/// How many hosts were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    One,
    /// What is shown says which of them it comes from.
    Several,
}

impl Asked {
    pub(super) fn of<T>(hosts: &[T]) -> Self {
        if hosts.len() > 1 { Self::Several } else { Self::One }
    }
}

/// What a command shows.
pub(super) enum Shown {
    /// A line of text.
    Line(String),
    /// Rows below a head.
    Table(Vec<&'static str>, Vec<Vec<String>>),
    /// The same, and a line below it about what is left out.
    Part(Vec<&'static str>, Vec<Vec<String>>, String),
}

impl Shown {
    /// What these hosts answer, as text.
    pub(super) fn text(all: &[(String, Self)], asked: Asked) -> String {
        let several = asked == Asked::Several;
        let (mut lines, mut head, mut rows, mut below) = (String::new(), Vec::new(), Vec::new(), String::new());
        for (host, shown) in all {
            let of_host = |line: &str| match several {
                true => format!("{host}: {line}\n"),
                false => format!("{line}\n"),
            };
            if let Self::Part(.., line) = shown {
                below.push_str(&of_host(line));
            }
            match shown {
                Self::Line(line) => lines.push_str(&of_host(line)),
                Self::Table(of, more) | Self::Part(of, more, _) => {
                    let host_column = || several.then(|| host.clone());
                    head = several
                        .then_some("host")
                        .into_iter()
                        .chain(of.iter().copied())
                        .map(str::to_owned)
                        .collect();
                    rows.extend(
                        more.iter()
                            .map(|row| host_column().into_iter().chain(row.iter().cloned()).collect()),
                    );
                }
            }
        }
        if head.is_empty() {
            return lines;
        }
        rows.insert(0, head);
        lines + &table(&rows) + &below
    }
}

/// Columns as wide as they need to be.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn rows(answer: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    answer.as_array().into_iter().flatten().map(row).collect()
}

/// The locks that calls hold; with their names, if they were asked for.
pub(super) fn locks(answer: &Value) -> Shown {
    let names = answer
        .as_array()
        .is_some_and(|locks| locks.iter().any(|lock| lock["name"].is_string()));
    let mut head = vec![
        "lease",
        "tenant",
        "digest of name",
        "fencing token",
        "age",
        "lasts",
        "waiting",
        "request",
    ];
    if names {
        head.push("name");
    }
    let row = |lock: &Value| {
        let mut row = vec![
            lock["id"].to_string(),
            text(&lock["tenant"]),
            text(&lock["digest"]),
            lock["fencing_token"].to_string(),
            seconds(&lock["age_ms"]),
            seconds(&lock["remaining_ms"]),
            lock["waiting"].to_string(),
            text(&lock["request_id"]),
        ];
        // A name is a caller's text, and a terminal obeys some of those.
        row.extend(names.then(|| quoted(lock["name"].as_str().unwrap_or_default(), NAME_MAX)));
        row
    };
    Shown::Table(head, rows(answer, row))
}

/// The tenants with their states.
pub(super) fn tenants(answer: &Value) -> Shown {
    let head = vec!["tenant", "state", "running", "waiting", "component", "refused because"];
    let row = |tenant: &Value| {
        vec![
            text(&tenant["tenant"]),
            text(&tenant["state"]),
            number(&tenant["calls"]["running"]),
            number(&tenant["calls"]["waiting"]),
            text(&tenant["component"]),
            text(&tenant["refused"]),
        ]
    };
    let rows = rows(&answer["tenants"], row);
    match answer["next"].as_str() {
        Some(next) => Shown::Part(head, rows, format!("there are more; pass --after {next}")),
        None => Shown::Table(head, rows),
    }
}

/// The versions of a tenant.
pub(super) fn versions(answer: &Value) -> Shown {
    let row = |version: &Value| {
        let (component, standing) = (&version["component"], &version["standing"]);
        let now = if *component == answer["component"] {
            "serves"
        } else if *component == answer["tried"] {
            "is tried"
        } else {
            ""
        };
        let (standing, why) = match standing["taken_back"].as_str() {
            Some(why) => ("taken back".to_owned(), why.to_owned()),
            None => (text(standing), String::new()),
        };
        vec![
            text(component),
            now.to_owned(),
            since(&version["served_ms"]),
            standing,
            why,
        ]
    };
    Shown::Table(
        vec!["version", "now", "put", "standing", "why"],
        rows(&answer["versions"], row),
    )
}

/// Which version of a tenant serves now.
pub(super) fn serves(answer: &Value) -> Shown {
    Shown::Line(format!(
        "{} is served by version {}",
        text(&answer["tenant"]),
        text(&answer["component"])
    ))
}

/// How long an instant is ago.
fn since(at_ms: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = namelock_types::milliseconds(now).saturating_sub(at_ms.as_u64().unwrap_or_default()) / 1000;
    let (number, unit) = match ago {
        0..120 => (ago, "s"),
        120..7200 => (ago / 60, "min"),
        7200..172_800 => (ago / 3600, "h"),
        _ => (ago / 86_400, "d"),
    };
    format!("{number} {unit} ago")
}

/// The tenants whose components are being loaded.
pub(super) fn compiling(answer: &Value) -> Shown {
    let row = |loading: &Value| {
        let takes_long = if loading["takes_long"] == true { "yes" } else { "no" };
        vec![
            text(&loading["tenant"]),
            text(&loading["stage"]),
            seconds(&loading["age_ms"]),
            takes_long.to_owned(),
        ]
    };
    Shown::Table(vec!["tenant", "stage", "since", "takes long"], rows(answer, row))
}

/// The state of one tenant that was changed.
pub(super) fn state(answer: &Value) -> Shown {
    Shown::Line(format!("{} is {}", text(&answer["tenant"]), text(&answer["state"])))
}

/// The filter of the log.
pub(super) fn log(answer: &Value) -> Shown {
    let filter = text(&answer["filter"]);
    Shown::Line(match answer["then"].as_str() {
        Some(then) => format!("{filter}, for another {}, then {then}", seconds(&answer["ends_in_ms"])),
        None => filter,
    })
}

/// What a host that stops still does.
pub(super) fn drain(answer: &Value) -> Shown {
    Shown::Line(format!(
        "stopping: {} calls run, {} wait, {} locks are held",
        number(&answer["calls_running"]),
        number(&answer["calls_waiting"]),
        number(&answer["locks_held"])
    ))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn number(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn seconds(ms: &Value) -> String {
    format!("{:.1} s", ms.as_f64().unwrap_or_default() / 1e3)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_one(shown: Shown) -> String {
        Shown::text(&[("h:1".to_owned(), shown)], Asked::One)
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let lock = json!({
            "id": 7, "tenant": "demo", "digest": "0cc1", "fencing_token": 12, "age_ms": 1500, "remaining_ms": 8500,
            "waiting": 2, "request_id": "r-1",
        });
        let expect = "lease  tenant  digest of name  fencing token  age    lasts  waiting  request\n\
                      7      demo    0cc1            12             1.5 s  8.5 s  2        r-1\n";
        assert_eq!(of_one(locks(&json!([lock]))), expect);
        let mut named = lock;
        named["name"] = json!("red\u{1b}[2J");
        let named = of_one(locks(&json!([named])));
        assert!(named.ends_with("r-1      \"red\\u{1b}[2J\"\n"), "{named}");
        let expect = "tenant  state  running  waiting  component  refused because\n";
        assert_eq!(of_one(tenants(&json!({ "tenants": [], "next": null }))), expect);
    }

    #[test]
    fn it_is_said_where_there_are_more_tenants() {
        let of = |tenant: &str, next: Value| {
            tenants(&json!({ "tenants": [{ "tenant": tenant, "state": "serving" }], "next": next }))
        };
        let expect = "tenant  state    running  waiting  component  refused because\n\
                      a       serving  -        -        -          -\n\
                      there are more; pass --after a\n";
        assert_eq!(of_one(of("a", json!("a"))), expect);
        let both = [
            ("h:1".to_owned(), of("a", json!(null))),
            ("h:2".to_owned(), of("b", json!("b"))),
        ];
        let shown = Shown::text(&both, Asked::Several);
        assert!(shown.ends_with("\nh:2: there are more; pass --after b\n"), "{shown}");
        assert_eq!(shown.matches("there are more").count(), 1, "{shown}");
    }

    #[test]
    fn several_hosts_are_shown_together() {
        let of = |tenant: &str| compiling(&json!([{ "tenant": tenant, "stage": "reading", "age_ms": 0 }]));
        let both = [("a:1".to_owned(), of("x")), ("b:22".to_owned(), of("y"))];
        let expect = "host  tenant  stage    since  takes long\n\
                      a:1   x       reading  0.0 s  no\n\
                      b:22  y       reading  0.0 s  no\n";
        assert_eq!(Shown::text(&both, Asked::Several), expect);
        let of = |text: &str| Shown::Line(text.to_owned());
        let both = [("a:1".to_owned(), of("ready")), ("b:22".to_owned(), of("ready"))];
        assert_eq!(Shown::text(&both, Asked::Several), "a:1: ready\nb:22: ready\n");
        assert_eq!(of_one(of("ready")), "ready\n");
    }

    #[test]
    fn a_filter_is_shown_with_its_end() {
        let answer = json!({ "filter": "debug", "at_start": "info", "then": "warn", "ends_in_ms": 1500 });
        assert_eq!(of_one(log(&answer)), "debug, for another 1.5 s, then warn\n");
        assert_eq!(of_one(log(&json!({ "filter": "info" }))), "info\n");
    }
}
