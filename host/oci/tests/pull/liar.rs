//! A registry that does what no registry should. It speaks to one client after the other.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use namelock_oci::Digest;

/// Answers to one request: its head, and where the answer goes. The connection is closed behind it.
type Answer = dyn Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

pub(super) struct Liar {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    /// Answers like this until the test's process ends.
    pub(super) fn start(answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (seen, answer): (_, Arc<Answer>) = (Arc::clone(&heads), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    let mut stream = stream?;
                    let mut head = String::new();
                    let mut reader = BufReader::new(stream.try_clone()?);
                    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
                    seen.lock().unwrap().push(head.clone());
                    answer(&head, &mut stream)
                });
            }
        });
        Self { address, heads }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the requests that have come.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// A manifest of this component.
pub(super) fn manifest(component: &[u8]) -> String {
    let (digest, size) = (Digest::of(component), component.len());
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{digest}","size":1}},"layers":[{{"mediaType":"application/wasm","digest":"{digest}","size":{size},"urls":["http://10.0.0.1/x"]}}]}}"#
    )
}

/// Sends an answer with a body and its length.
pub(super) fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)
}
