//! What is known after a run: the calls, the database's own record of every write, and the critical sections.

use std::collections::HashMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::Row;

use crate::clients::Call;
use crate::nemesis::Record;

/// All that happened.
#[derive(Debug)]
pub struct History {
    /// What clients asked, and what they were answered.
    pub calls: Vec<Call>,
    /// Every version of every row, in the order in which they were made.
    pub versions: Vec<Version>,
    /// Times in which a handler trusted its lease.
    pub sections: Vec<Section>,
    /// Which faults were injected, and when.
    pub faults: Vec<Record>,
}

/// A row of the database as it once was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    pub name: String,
    pub owner: String,
    pub created_ms: i64,
    pub expires_ms: Option<i64>,
    pub fencing_token: i64,
}

impl Version {
    pub(crate) fn of(row: &Row) -> Self {
        Self {
            name: row.get("name"),
            owner: row.get("owner"),
            created_ms: row.get("created_ms"),
            expires_ms: row.get("expires_ms"),
            fencing_token: row.get("fencing_token"),
        }
    }
}

/// A time in which a handler trusted its lease for certain, in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    pub host: usize,
    pub name: String,
    pub fencing_token: u64,
    pub begin_us: i64,
    pub end_us: i64,
}

/// Reads the critical sections from the log of a host whose clock is so many seconds off.
///
/// The line `section begin` is written once the lease is held, so the section has begun by then. A line `section on` says how long,
/// by the lease's own count, it has lasted since a moment that is no earlier: so it lasted at least until that long after the first line.
/// What is not certain is left out.
pub(crate) fn sections(host: usize, clock_off: i64, log: &str) -> Vec<Section> {
    let mut open: HashMap<(String, u64), Section> = HashMap::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let (Some(time), Some(at)) = (words.next().and_then(microseconds), line.find("section ")) else {
            continue;
        };
        let request = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("request_id="));
        let said: Vec<_> = line[at..].split_whitespace().collect();
        let (Some(request), Some(Ok(fencing_token))) = (request, said.get(2).map(|text| text.parse::<u64>())) else {
            continue;
        };
        let key = (request.trim_matches('"').to_owned(), fencing_token);
        match (said[1], said.get(3)) {
            ("begin", Some(name)) => {
                let begin_us = time - clock_off * 1_000_000;
                let section = Section {
                    host,
                    name: (*name).to_owned(),
                    fencing_token,
                    begin_us,
                    end_us: begin_us,
                };
                open.insert(key, section);
            }
            ("on", Some(lasted)) => {
                if let (Some(section), Ok(lasted)) = (open.get_mut(&key), lasted.parse::<i64>()) {
                    section.end_us = section.end_us.max(section.begin_us + lasted * 1000);
                }
            }
            _ => {}
        }
    }
    open.into_values().collect()
}

/// Reads a time such as `2026-01-31T12:00:00.123456Z` in microseconds since 1970.
fn microseconds(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_lasts_as_long_as_is_certain() {
        let log = "\
            1970-01-01T00:00:10.000000Z  INFO guest: section begin 7 hot-1 tenant=\"t\" request_id=\"r1\"\n\
            1970-01-01T00:00:10.100000Z  INFO guest: section on 7 90 tenant=\"t\" request_id=\"r1\"\n\
            1970-01-01T00:00:11.000000Z  INFO guest: section on 7 80 tenant=\"t\" request_id=\"r2\"\n\
            1970-01-01T00:00:12.000000Z  INFO guest: something else request_id=\"r1\"\n";
        let section = Section {
            host: 2,
            name: "hot-1".to_owned(),
            fencing_token: 7,
            begin_us: 7_000_000,
            end_us: 7_090_000,
        };
        assert_eq!(sections(2, 3, log), [section]);
    }
}
