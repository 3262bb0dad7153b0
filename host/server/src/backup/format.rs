//! The lines of an export.
//!
//! Each is a JSON object. The first says what it is an export of:
//!
//! ```json
//! {"format":"namelock-names","version":1,"tenant":"demo","time_ms":1790000000000,"by":"namelock 0.1.0"}
//! ```
//!
//! Then there is one for each name, in the order of the names' bytes; what is left out is none, false or zero:
//!
//! ```json
//! {"name":"sea-view","owner":"ann","created_ms":1,"expires_ms":2,"fencing_token":3,"attributes":[["k","v"]],"ended":true,"hold_ms":4,"saved_by":{"key":"…","fingerprint":"…"}}
//! ```
//!
//! The last one says how many there are, and the SHA-256 of all bytes before it. So what was cut off, changed or put together from
//! two files is recognised.

use std::io::{BufRead, Read, Write};

use namelock_names::records::Record;
use namelock_names::{FencingToken, NamesConfig, Registration, RequestKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex::{from_hex, hex};

/// What the first line says that it is.
const FORMAT: &str = "namelock-names";

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// The longest line, in bytes: the attributes of a registration with every byte escaped.
const LINE_MAX: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u64,
    pub(super) tenant: String,
    /// What time it was by the database.
    time_ms: u64,
    /// The program that has written it.
    #[serde(default)]
    by: String,
}

impl Header {
    pub(super) fn new(tenant: &str, time_ms: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            tenant: tenant.to_owned(),
            time_ms,
            by: concat!("namelock ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    owner: String,
    created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    fencing_token: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "is_default")]
    ended: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    hold_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_by: Option<Request>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed_by: Option<Request>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    key: String,
    fingerprint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    end: End,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
    sha256: String,
}

/// How the last line begins, and no other.
const LAST: &[u8] = b"{\"end\":";

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes an export.
pub(super) struct Writer<W> {
    out: W,
    digest: Sha256,
    records: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the first line.
    pub(super) fn begin(out: W, header: &Header) -> std::io::Result<Self> {
        let mut writer = Self {
            out,
            digest: Sha256::new(),
            records: 0,
            bytes: 0,
        };
        writer.line(header)?;
        Ok(writer)
    }

    pub(super) fn record(&mut self, record: Record) -> std::io::Result<()> {
        self.records += 1;
        self.line(&Line::from(record))
    }

    /// Writes the last line, and returns what it was written to, and how many bytes.
    pub(super) fn end(mut self) -> std::io::Result<(W, u64)> {
        let end = End {
            records: self.records,
            sha256: hex(&self.digest.clone().finalize()),
        };
        self.line(&Last { end })?;
        self.out.flush()?;
        Ok((self.out, self.bytes))
    }

    fn line(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.digest.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(&bytes)
    }
}

/// Reads an export, line by line, and checks it.
pub(super) struct Reader<R> {
    input: R,
    /// The line that was read last, counted from 1.
    pub(super) line: u64,
    digest: Sha256,
    records: u64,
    last_name: Option<String>,
    ended: bool,
    buffer: Vec<u8>,
}

/// Why a line cannot be used.
pub(super) type Problem = String;

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub(super) fn begin(input: R) -> Result<(Self, Header), (u64, Problem)> {
        let mut reader = Self {
            input,
            line: 0,
            digest: Sha256::new(),
            records: 0,
            last_name: None,
            ended: false,
            buffer: Vec::new(),
        };
        let header = reader.header();
        header.map(|header| (reader, header)).map_err(|problem| (1, problem))
    }

    fn header(&mut self) -> Result<Header, Problem> {
        self.read_line()?;
        let header: Header = serde_json::from_slice(&self.buffer)
            .map_err(|error| format!("this is no export of names: {}", told(&error)))?;
        if header.format != FORMAT {
            return Err(format!(
                "this is {:?}, and no export of names ({FORMAT:?})",
                header.format
            ));
        }
        if header.version != VERSION {
            return Err(format!(
                "this is version {} of an export, written by {:?}; this program reads version {VERSION}; use a namelock \
                 that knows it",
                header.version, header.by
            ));
        }
        self.digest.update(&self.buffer);
        Ok(header)
    }

    /// Reads the next record; none: the last line has come, and all is as it says.
    pub(super) fn next(&mut self, config: &NamesConfig) -> Result<Option<Record>, Problem> {
        if self.ended {
            return Ok(None);
        }
        self.read_line()?;
        if self.buffer.starts_with(LAST) {
            let last: Last = serde_json::from_slice(&self.buffer).map_err(|error| told(&error))?;
            self.check_end(&last.end)?;
            self.ended = true;
            return Ok(None);
        }
        let line: Line = serde_json::from_slice(&self.buffer).map_err(|error| told(&error))?;
        self.digest.update(&self.buffer);
        let record = Record::try_from(line)?;
        record.check(config).map_err(|error| error.to_string())?;
        let name = &record.registration.name;
        match &self.last_name {
            Some(last) if last == name => return Err(format!("the name {name:?} comes twice")),
            Some(last) if last > name => {
                return Err(format!("the name {name:?} comes after {last:?}; they are not in order"));
            }
            Some(_) | None => self.last_name = Some(name.clone()),
        }
        self.records += 1;
        Ok(Some(record))
    }

    fn check_end(&mut self, end: &End) -> Result<(), Problem> {
        if end.records != self.records {
            return Err(format!(
                "there are {} names, and the last line says {}: some are missing or were added",
                self.records, end.records
            ));
        }
        let sha256 = hex(&self.digest.clone().finalize());
        if end.sha256 != sha256 {
            return Err(format!(
                "the lines before have the SHA-256 {sha256}, and not {:.64}: they were changed since they were exported; \
                 if you have changed them, put this digest here",
                end.sha256
            ));
        }
        let mut after = [0];
        match self.input.read(&mut after) {
            Ok(0) => Ok(()),
            Ok(_) => Err("something comes after this line, which is the last of an export".to_owned()),
            Err(error) => Err(format!("cannot read on: {error}")),
        }
    }

    /// Reads a line into the buffer, with its end.
    fn read_line(&mut self) -> Result<(), Problem> {
        self.line += 1;
        self.buffer.clear();
        let mut bounded = self.input.by_ref().take(LINE_MAX);
        let read = bounded.read_until(b'\n', &mut self.buffer);
        let length = read.map_err(|error| format!("cannot read it: {error}"))?;
        if length == 0 {
            return Err("the export was cut off: its last line is missing".to_owned());
        }
        if self.buffer.last() != Some(&b'\n') {
            let problem = match length as u64 {
                LINE_MAX => format!("it has more than {LINE_MAX} bytes"),
                _ => "the export was cut off in this line".to_owned(),
            };
            return Err(problem);
        }
        Ok(())
    }
}

/// What a parser says, without a position in what is only one line of many.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = text.rfind(" at line ");
    let (what, _) = text.split_at(position.unwrap_or(text.len()));
    match error.column() {
        0 => what.to_owned(),
        column => format!("{what} (column {column})"),
    }
}

impl From<Record> for Line {
    fn from(record: Record) -> Self {
        let request = |key: RequestKey| Request {
            key: hex(&key.key),
            fingerprint: hex(&key.fingerprint),
        };
        let Registration {
            name,
            owner,
            created_ms,
            expires_ms,
            fencing_token,
            attributes,
        } = record.registration;
        Self {
            name,
            owner,
            created_ms,
            expires_ms,
            fencing_token: fencing_token.get(),
            attributes,
            ended: record.ended,
            hold_ms: record.hold_ms,
            saved_by: record.saved_by.map(request),
            changed_by: record.changed_by.map(request),
        }
    }
}

impl TryFrom<Line> for Record {
    type Error = Problem;

    fn try_from(line: Line) -> Result<Self, Problem> {
        let digest = |text: &str| {
            let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| format!("{text:?} is not 32 hexadecimal digits"))
        };
        let request = |request: Option<Request>| -> Result<Option<RequestKey>, Problem> {
            let read = |request: Request| {
                Ok(RequestKey {
                    key: digest(&request.key)?,
                    fingerprint: digest(&request.fingerprint)?,
                })
            };
            request.map(read).transpose()
        };
        Ok(Self {
            registration: Registration {
                name: line.name,
                owner: line.owner,
                created_ms: line.created_ms,
                expires_ms: line.expires_ms,
                fencing_token: FencingToken::new(line.fencing_token),
                attributes: line.attributes,
            },
            ended: line.ended,
            hold_ms: line.hold_ms,
            saved_by: request(line.saved_by)?,
            changed_by: request(line.changed_by)?,
        })
    }
}

#[cfg(test)]
mod tests;
