//! The smallest client that keeps its connection: it must not cost more than what it measures.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection of one caller.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Whether the server closes the connection after the last answer.
    ends: bool,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            address,
            stream: connect(address).await?,
            buffer: Vec::new(),
            ends: false,
        })
    }

    /// Sends a body and tells the status of the answer.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<u16> {
        Ok(self.send("POST", path, body).await?.0)
    }

    /// Sends a body and tells the status and the body of the answer.
    pub(crate) async fn ask(&mut self, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let (status, body) = self.send("POST", path, body).await?;
        Ok((status, std::str::from_utf8(body)?.to_owned()))
    }

    /// Tells the body of the answer.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        let (_, body) = self.send("GET", path, "").await?;
        Ok(std::str::from_utf8(body)?.to_owned())
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, &[u8])> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if std::mem::take(&mut self.ends) {
            self.stream = connect(self.address).await?;
        }
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the host closed the connection");
            }
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let length: usize = header(text, "content-length").map_or(Ok(0), str::parse)?;
            if self.buffer.len() >= head + 4 + length {
                let status = text.split(' ').nth(1).context("no status")?;
                self.ends = header(text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return Ok((status.parse()?, &self.buffer[head + 4..]));
            }
        }
    }
}

pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect to the host")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The value of a header of an answer.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = headers.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_kept_until_the_server_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            // What the first connection answers, in two parts each, and what the second does.
            for answers in [
                &[
                    "HTTP/1.1 201 Created\r\nContent-",
                    "Length: 2\r\n\r\nok",
                    "HTTP/1.1 409 C\r\nConnection: Close\r\n",
                    "\r\n",
                ][..],
                &["HTTP/1.1 423 Locked\r\n", "content-length: 0\r\n\r\n"],
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                for parts in answers.chunks(2) {
                    let mut request = [0; 1024];
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    stream.write_all(parts[0].as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                    stream.write_all(parts[1].as_bytes()).await.unwrap();
                }
            }
        });
        let mut client = Client::connect(address).await.unwrap();
        assert_eq!(client.ask("/", "{}").await.unwrap(), (201, "ok".to_owned()));
        assert_eq!(client.post("/", "{}").await.unwrap(), 409);
        assert_eq!(client.post("/", "{}").await.unwrap(), 423);
        server.await.unwrap();
    }
}
