//! Asks the admin listener of a host over HTTP.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::tls::{ClientTls, Stream};
use super::token::Token;
use crate::text::one_line;

/// How long a host may take to connect, and then to send more of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer, in bytes: the states of many tenants.
const ANSWER_MAX: u64 = 64 << 20;

/// Longest text of a refusal that is shown, in bytes.
const REFUSAL_MAX: usize = 2048;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// As JSON; none: there is no body.
    pub(crate) body: Option<Value>,
}

/// What an operator has to be let in.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) token: Option<Token>,
    /// None: hosts are asked without TLS.
    pub(crate) tls: Option<ClientTls>,
}

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The host does not answer.
    #[error(transparent)]
    Unreached(Error),
    /// It answers that it cannot do it.
    #[error("{0}")]
    Refused(String),
}

/// Asks a host, and returns the text of its answer.
pub(crate) fn ask(host: SocketAddr, access: &Access, question: &Question) -> Result<String, AskError> {
    ask_patiently(host, access, question, TIMEOUT)
}

/// Asks a host that may take this long to answer.
pub(super) fn ask_patiently(
    host: SocketAddr,
    access: &Access,
    question: &Question,
    patience: Duration,
) -> Result<String, AskError> {
    let answer = exchange(host, access, question, patience).map_err(|source| {
        AskError::Unreached(match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::other(format!("no answer within {patience:?}")),
            ErrorKind::InvalidData if access.tls.is_none() => Error::other("its answer is no text"),
            _ => source,
        })
    })?;
    let no_http = || AskError::Unreached(Error::other("it does not speak HTTP"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_http)?;
    let status: u16 = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(no_http)?;
    if body.len() as u64 > ANSWER_MAX || length(head).is_some_and(|length| length != body.len()) {
        return Err(AskError::Unreached(Error::other(
            "its answer was cut; ask for less with --limit",
        )));
    }
    if (200..300).contains(&status) {
        return Ok(body.to_owned());
    }
    let hint = match (status, &access.token) {
        (401, None) => "; set NAMELOCK_ADMIN_TOKEN to a secret of `namelock token new --admin`, or pass --token-file",
        (400, _) if access.tls.is_none() && body.contains("this port speaks TLS") => "; pass --tls-roots",
        _ => "",
    };
    Err(AskError::Refused(format!("{}{hint}", refusal(body))))
}

fn exchange(host: SocketAddr, access: &Access, question: &Question, patience: Duration) -> std::io::Result<String> {
    let stream = TcpStream::connect_timeout(&host, TIMEOUT)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut stream = Stream::open(stream, host, access.tls.as_ref())?;
    let Question { method, path, body } = question;
    // With HTTP/1.0 the end of the connection is that of the answer.
    let mut text = format!("{method} {path} HTTP/1.0\r\nhost: {host}\r\n");
    if let Some(token) = &access.token {
        text.push_str(&format!("authorization: Bearer {}\r\n", token.reveal()));
    }
    let body = body.as_ref().map(Value::to_string).unwrap_or_default();
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    // A head is far shorter than that.
    stream.take(ANSWER_MAX + (64 << 10)).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The length of the body, if the head says it.
fn length(head: &str) -> Option<usize> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next()?.1.trim().parse().ok()
}

/// What a refusal says, on one line.
fn refusal(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let reasons = parsed["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<_> = reasons
        .filter_map(|reason| Some(format!("{}: {}", reason["part"].as_str()?, reason["reason"].as_str()?)))
        .collect();
    let text = match (parsed["detail"].as_str(), reasons.is_empty()) {
        (Some(detail), _) => detail.to_owned(),
        (None, false) => format!("not ready; {}", reasons.join("; ")),
        (None, true) => body.to_owned(),
    };
    one_line(&text, REFUSAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line() {
        let check = |body: &str, expect: &str| assert_eq!(refusal(body), expect);
        check(
            r#"{"title":"Not Found","status":404,"detail":"no\ntenant"}"#,
            "no tenant",
        );
        check(
            r#"{"ready":false,"reasons":[{"part":"lock","reason":"down"},{"part":"names","reason":"late"}]}"#,
            "not ready; lock: down; names: late",
        );
        check("plain\ntext", "plain text");
    }

    #[test]
    fn the_length_of_a_body_is_found_whatever_its_spelling() {
        assert_eq!(length("HTTP/1.0 200 OK\r\nContent-Length: 12\r\nx: y"), Some(12));
        assert_eq!(length("HTTP/1.0 200 OK\r\nx: y"), None);
    }
}
