//! Turns a guest's standard output and error into lines of the tenant's log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line; a longer one is continued in the next.
const LINE_BYTES_MAX: usize = 1024;

/// How much a guest may write at once, in bytes.
const WRITE_BYTES_MAX: usize = 4096;

/// The output of one call. Clones share it, and its limit.
#[derive(Clone)]
pub(crate) struct TenantLog {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    tenant: Arc<str>,
    request_id: Box<str>,
    line: Vec<u8>,
    /// How many more bytes are logged; what follows is dropped.
    left: usize,
    dropped: bool,
}

impl TenantLog {
    pub(crate) fn new(tenant: &Arc<str>, request_id: &str, limit: usize) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                tenant: Arc::clone(tenant),
                request_id: request_id.into(),
                line: Vec::new(),
                left: limit,
                dropped: false,
            })),
        }
    }
}

impl Inner {
    fn write(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.left);
        self.left -= kept;
        for &byte in &bytes[..kept] {
            if byte == b'\n' {
                self.emit();
            } else {
                self.line.push(byte);
                if self.line.len() == LINE_BYTES_MAX {
                    self.emit();
                }
            }
        }
        if kept < bytes.len() && !self.dropped {
            self.dropped = true;
            self.emit();
            tracing::warn!(
                target: "guest",
                tenant = &*self.tenant,
                request_id = &*self.request_id,
                "more output is dropped (limits.log_bytes)"
            );
        }
    }

    fn emit(&mut self) {
        if self.line.is_empty() {
            return;
        }
        // Whatever a guest writes, control characters too, reaches the log as escaped text, and never as lines of its
        // own.
        let line = String::from_utf8_lossy(&self.line).escape_debug().to_string();
        tracing::info!(target: "guest", tenant = &*self.tenant, request_id = &*self.request_id, "{line}");
        self.line.clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.emit();
    }
}

impl IsTerminal for TenantLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for TenantLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for TenantLog {
    async fn ready(&mut self) {}
}

impl OutputStream for TenantLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.inner.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for TenantLog {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.inner.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
