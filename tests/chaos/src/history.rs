//! What is known after a run: the calls, the database's own record of every write, and the critical sections.

use std::collections::HashMap;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clients::Call;
use crate::nemesis::Record;

/// All that happened.
#[derive(Debug, Default)]
pub struct History {
    /// What clients asked, and what they were answered.
    pub calls: Vec<Call>,
    /// Every version of every row, in the order in which they were made.
    pub versions: Vec<Version>,
    /// Times in which a handler trusted its lease.
    pub sections: Vec<Section>,
    /// Which faults were injected, and when.
    pub faults: Vec<Record>,
    /// When which locks were seen in memcached.
    pub sightings: Vec<Sighting>,
    /// Whether hosts were started while clients called, apart from faults.
    pub hosts_come: bool,
}

/// A row of the database as it once was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    pub name: String,
    pub owner: String,
    pub created_ms: i64,
    pub expires_ms: Option<i64>,
    pub fencing_token: i64,
    /// When the statement ran, by the clock of whoever ran it.
    pub written_ms: i64,
}

impl Version {
    pub(crate) fn of_postgres(row: &tokio_postgres::Row) -> Self {
        Self {
            name: row.get("name"),
            owner: row.get("owner"),
            created_ms: row.get("created_ms"),
            expires_ms: row.get("expires_ms"),
            fencing_token: row.get("fencing_token"),
            written_ms: row.get("written_ms"),
        }
    }

    pub(crate) fn of_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            owner: row.get("owner")?,
            created_ms: row.get("created_ms")?,
            expires_ms: row.get("expires_ms")?,
            fencing_token: row.get("fencing_token")?,
            written_ms: row.get("written_ms")?,
        })
    }
}

/// A lock that was in memcached at some time, in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    pub at_us: i64,
    pub server: usize,
    pub key: String,
}

/// A time in which a handler trusted its lease for certain, in microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    pub host: usize,
    pub name: String,
    pub fencing_token: u64,
    /// When the lease had not been asked for yet.
    pub asked_us: i64,
    pub begin_us: i64,
    pub end_us: i64,
}

/// A line that a handler wrote, with the right time at which it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    at_us: i64,
    request: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// It is about to ask for the lease.
    Ask { name: String },
    /// It holds the lease.
    Begin { fencing_token: u64, name: String },
    /// It has held it for so long.
    On { fencing_token: u64, lasted_ms: i64 },
}

impl Said {
    /// Reads a line of a host's log, whose time `right` puts right. None: it says nothing of a section, or its time is
    /// not certain.
    pub(crate) fn parse(line: &str, right: impl Fn(i64) -> Option<i64>) -> Option<Self> {
        let said: Vec<_> = line[line.find("section ")?..].split_whitespace().collect();
        let what = match (*said.get(1)?, *said.get(2)?, said.get(3)) {
            ("ask", name, _) => What::Ask { name: name.to_owned() },
            ("begin", token, Some(name)) => What::Begin {
                fencing_token: token.parse().ok()?,
                name: (*name).to_owned(),
            },
            ("on", token, Some(lasted)) => What::On {
                fencing_token: token.parse().ok()?,
                lasted_ms: lasted.parse().ok()?,
            },
            _ => return None,
        };
        let words = || line.split_whitespace();
        let request = words().find_map(|word| word.strip_prefix("request_id="))?;
        Some(Self {
            at_us: right(microseconds(words().next()?)?)?,
            request: request.trim_matches('"').to_owned(),
            what,
        })
    }

    /// Whether it says that a lease has been held for a moment.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.what, What::On { .. })
    }

    /// The name that is held, if it says so and not earlier than this.
    pub(crate) fn begun_since(&self, since_us: i64) -> Option<&str> {
        match &self.what {
            What::Begin { name, .. } if self.at_us >= since_us => Some(name),
            _ => None,
        }
    }
}

/// Reads the critical sections from what the handlers of a host have said.
///
/// The line `section begin` is written once the lease is held, so the section has begun by then. A line `section on`
/// says how long, by the lease's own count, it has lasted since a moment that is no earlier: so it lasted at least
/// until that long after the first line. What is not certain is left out.
pub(crate) fn sections(host: usize, said: &[Said]) -> Vec<Section> {
    let mut asked: HashMap<(&str, &str), i64> = HashMap::new();
    let mut open: HashMap<(&str, u64), Section> = HashMap::new();
    for line in said {
        let request = line.request.as_str();
        match &line.what {
            What::Ask { name } => {
                asked.insert((request, name), line.at_us);
            }
            What::Begin { fencing_token, name } => {
                let section = Section {
                    host,
                    name: name.clone(),
                    fencing_token: *fencing_token,
                    // Where the line is missing nothing is known that was before.
                    asked_us: asked.get(&(request, name.as_str())).copied().unwrap_or_default(),
                    begin_us: line.at_us,
                    end_us: line.at_us,
                };
                open.insert((request, *fencing_token), section);
            }
            What::On {
                fencing_token,
                lasted_ms,
            } => {
                if let Some(section) = open.get_mut(&(request, *fencing_token)) {
                    // The difference of two times that are both rounded down may be almost a millisecond more than has passed.
                    let certain_ms = (lasted_ms - 1).max(0);
                    section.end_us = section.end_us.max(section.begin_us + certain_ms * 1000);
                }
            }
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
            1970-01-01T00:00:09.500000Z  INFO guest: section ask hot-1 tenant=\"t\" request_id=\"r1\"\n\
            1970-01-01T00:00:10.000000Z  INFO guest: section begin 7 hot-1 tenant=\"t\" request_id=\"r1\"\n\
            1970-01-01T00:00:10.100000Z  INFO guest: section on 7 90 tenant=\"t\" request_id=\"r1\"\n\
            1970-01-01T00:00:11.000000Z  INFO guest: section on 7 80 tenant=\"t\" request_id=\"r2\"\n\
            1970-01-01T00:00:12.000000Z  INFO guest: something else request_id=\"r1\"\n";
        let section = Section {
            host: 2,
            name: "hot-1".to_owned(),
            fencing_token: 7,
            asked_us: 6_500_000,
            begin_us: 7_000_000,
            end_us: 7_089_000,
        };
        let three_ahead = |us| Some(us - 3_000_000);
        let said: Vec<_> = log.lines().filter_map(|line| Said::parse(line, three_ahead)).collect();
        assert_eq!(sections(2, &said), [section]);
        assert_eq!(log.lines().filter_map(|line| Said::parse(line, |_| None)).count(), 0);
    }
}
