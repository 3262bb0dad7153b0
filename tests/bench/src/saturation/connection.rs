//! A connection that registers names and looks at no more of an answer than its status and its length.
//!
//! The request is written beforehand but for the number in the name: what the callers cost, the host lacks.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::connect;

/// Digits of the number that is the name.
const DIGITS: usize = 20;

/// How much of answers is read at once.
const BUFFER_BYTES: usize = 4096;

/// One connection.
pub(super) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    request: Vec<u8>,
    /// Where in the request the name stands.
    name_at: usize,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects; names are registered at `path`.
    pub(super) async fn open(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let (before, after) = ("{\"name\":\"", "\",\"owner\":\"ann\"}");
        let length = before.len() + DIGITS + after.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n{before}");
        let name = "0".repeat(DIGITS);
        Ok(Self {
            address,
            stream: connect(address).await?,
            name_at: head.len(),
            request: format!("{head}{name}{after}").into_bytes(),
            buffer: Vec::with_capacity(BUFFER_BYTES),
        })
    }

    /// Registers the name that is this number, and tells the status of the answer. None: the host has closed the
    /// connection, and there is a new one.
    pub(super) async fn register(&mut self, number: u64) -> anyhow::Result<Option<u16>> {
        write_number(&mut self.request[self.name_at..self.name_at + DIGITS], number);
        self.buffer.clear();
        if self.stream.write_all(&self.request).await.is_ok() {
            while matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                if let Some(status) = status(&self.buffer)? {
                    return Ok(Some(status));
                }
            }
        }
        self.stream = connect(self.address).await?;
        Ok(None)
    }
}

fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The status of an answer; none: it is not all there.
fn status(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(head) = find(answer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let number = |from: usize| {
        let digits = answer[from..head].split(|byte| !byte.is_ascii_digit()).next();
        let digits = std::str::from_utf8(digits.unwrap_or_default())?;
        digits
            .parse::<usize>()
            .context("an answer is not as the host writes it")
    };
    // As the host writes it.
    let name = b"\r\ncontent-length: ";
    let length = match find(&answer[..head], name) {
        Some(at) => number(at + name.len())?,
        None => 0,
    };
    let status = number(b"HTTP/1.1 ".len())?;
    Ok((answer.len() >= head + 4 + length).then_some(u16::try_from(status)?))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_has_a_status_when_all_of_it_is_there() {
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 12\r\nlocation: /a\r\n\r\n123456789012";
        for length in 0..answer.len() {
            assert_eq!(status(&answer[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(status(answer).unwrap(), Some(201));
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some(204));
        assert!(status(b"HTTP/1.1 \r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn each_request_has_its_own_name_and_a_closed_connection_is_made_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap(), "/v1/a/names")
            .await
            .unwrap();
        let server = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in [&b""[..], b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                requests.push(String::from_utf8(request[..length].to_vec()).unwrap());
                stream.write_all(answer).await.unwrap();
            }
            requests
        });
        assert_eq!(connection.register(7).await.unwrap(), None);
        assert_eq!(connection.register(u64::MAX).await.unwrap(), Some(201));
        let expected = |name: &str| {
            format!(
                "POST /v1/a/names HTTP/1.1\r\nhost: bench\r\ncontent-length: 45\r\n\r\n{{\"name\":\"{name}\",\"owner\":\"ann\"}}"
            )
        };
        assert_eq!(
            server.await.unwrap(),
            [expected("00000000000000000007"), expected("18446744073709551615")]
        );
    }
}
