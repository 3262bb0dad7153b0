//! The smallest client that keeps its connection: it must not cost more than what it measures.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection of one caller.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context("cannot connect to the host")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
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
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(Ok(0), str::parse)?;
            if self.buffer.len() >= head + 4 + length {
                let status = text.split(' ').nth(1).context("no status")?;
                return Ok((status.parse()?, &self.buffer[head + 4..]));
            }
        }
    }
}
