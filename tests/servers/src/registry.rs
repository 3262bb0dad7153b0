//! An OCI registry of the test's own: Debian's `docker-registry`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::port::free_port;
use crate::process::{DEADLINE, Process, wait_until};

/// What a manifest is.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A line of htpasswd for [`Registry::USER`] and [`Registry::PASSWORD`]. The registry knows bcrypt alone.
const HTPASSWD: &str = "ann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// A running registry on a port of loopback of its own, which it keeps when it is started anew.
#[derive(Debug)]
pub struct Registry {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

/// What a registry asks of its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard<'a> {
    /// Whether it wants [`Registry::USER`] and [`Registry::PASSWORD`].
    pub password: bool,
    /// What it speaks TLS with.
    pub tls: Option<&'a Identity>,
    /// Where clients are to get tokens: the address of the token server, and a file of the certificate of those that sign them.
    pub tokens: Option<(&'a str, &'a str)>,
}

impl Registry {
    /// Who may use a registry with a password.
    pub const USER: &'static str = "ann";
    /// The password of this user.
    pub const PASSWORD: &'static str = "secret";

    /// Starts an empty registry, which anybody may use.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        for _ in 0..10 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut registry = Self {
                process: spawn(&folder, address, &Guard::default()),
                address,
                folder,
            };
            if registry.answers() {
                return registry;
            }
        }
        panic!("docker-registry did not start");
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it; what it has stays.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// Has it not answer any more, as a machine that hangs does, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Starts it anew, with what it has, for clients that are like this.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&mut self, guard: &Guard<'_>) {
        self.stop();
        self.process = spawn(&self.folder, self.address, guard);
        assert!(self.answers(), "docker-registry did not start again");
    }

    /// Pushes a component as `wkg oci push` does, and returns the digest of its manifest. Only while anybody may.
    ///
    /// # Panics
    ///
    /// When the registry does not take it.
    pub fn push(&self, repository: &str, component: &[u8]) -> String {
        let config = br#"{"created":"2026-01-01T00:00:00Z","architecture":"wasm","os":"wasip2","layerDigests":[]}"#;
        let layers = [("application/wasm", component)];
        self.push_as(repository, ("application/vnd.wasm.config.v0+json", config), &layers)
    }

    /// Pushes anything with a configuration and layers, each with its media type.
    ///
    /// # Panics
    ///
    /// As [`push`](Self::push) does.
    pub fn push_as(&self, repository: &str, config: (&str, &[u8]), layers: &[(&str, &[u8])]) -> String {
        let describe = |(kind, bytes): (&str, &[u8])| {
            let digest = self.push_blob(repository, bytes);
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#, bytes.len())
        };
        let config = describe(config);
        let layers: Vec<_> = layers.iter().copied().map(describe).collect();
        let layers = layers.join(",");
        let manifest =
            format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layers}]}}"#);
        self.push_manifest(repository, MANIFEST, &manifest)
    }

    /// Pushes the text of a manifest under its digest, which it returns.
    ///
    /// # Panics
    ///
    /// As [`push`](Self::push) does.
    pub fn push_manifest(&self, repository: &str, kind: &str, manifest: &str) -> String {
        let digest = digest(manifest.as_bytes());
        let path = format!("/v2/{repository}/manifests/{digest}");
        let answer = self.ask("PUT", &path, kind, manifest.as_bytes());
        let answer = answer.expect("an answer to a manifest");
        assert!(answer.contains(" 201 "), "{answer}");
        digest
    }

    /// Has it answer with other bytes where it is asked for those of this digest.
    ///
    /// # Panics
    ///
    /// When it has none of this digest.
    pub fn tamper(&self, digest: &str, bytes: &[u8]) {
        let digits = digest.trim_start_matches("sha256:");
        let prefix = digits.get(..2).expect("a digest");
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs/sha256");
        let path = blobs.join(prefix).join(digits).join("data");
        assert!(path.exists(), "no {}", path.display());
        fs::write(path, bytes).expect("a file of the registry");
    }

    fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.ask("POST", &uploads, "", b"").expect("an answer to an upload");
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        let location = location.unwrap_or_else(|| panic!("no place for an upload: {answer}"));
        let (_, path) = location.split_once("/v2/").expect("a path");
        let path = format!("/v2/{path}&digest={digest}");
        let answer = self.ask("PUT", &path, "application/octet-stream", bytes);
        let answer = answer.expect("an answer to a blob");
        assert!(answer.contains(" 201 "), "{answer}");
        digest
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let (host, length) = (self.address, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)?;
        // An answer over TLS is no text.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Waits until it answers anything, be it that it speaks TLS; tells whether it does, or has ended instead.
    fn answers(&mut self) -> bool {
        let mut ended = false;
        let answered = wait_until(DEADLINE, || {
            let ready = self.ask("GET", "/v2/", "", b"").is_ok_and(|answer| !answer.is_empty());
            ended = self.process.wait(Duration::ZERO).is_some();
            ended || ready
        });
        answered && !ended
    }
}

/// The digest of some bytes, as registries write it.
fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn spawn(folder: &TempDir, address: SocketAddr, guard: &Guard<'_>) -> Process {
    let at = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| {
        fs::write(at(name), text).expect("a file in its folder");
        at(name).display().to_string()
    };
    let tls = guard.tls.map(|identity| {
        let certificate = put("tls.crt", &identity.certificate);
        let key = put("tls.key", &identity.key);
        format!("  tls: {{certificate: '{certificate}', key: '{key}'}}\n")
    });
    let password = guard.password.then(|| {
        let path = put("htpasswd", HTPASSWD);
        format!("  htpasswd: {{realm: test, path: '{path}'}}\n")
    });
    let tokens = guard.tokens.map(|(realm, roots)| {
        format!("  token: {{realm: '{realm}', service: test, issuer: test, rootcertbundle: '{roots}'}}\n")
    });
    let auth: String = password.into_iter().chain(tokens).collect();
    let auth = if auth.is_empty() {
        auth
    } else {
        format!("auth:\n{auth}")
    };
    let config = format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
         http:\n  addr: '{address}'\n  secret: test\n{}{auth}",
        at("storage").display(),
        tls.unwrap_or_default(),
    );
    let config = put("config.yml", &config);
    let log = File::create(at("log")).expect("a log file");
    let mut command = Process::command(
        "docker-registry",
        "run `make setup-docker-registry`, or on Debian `apt-get install docker-registry`",
    );
    command
        .args(["serve", &config])
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log);
    Process::spawn(&mut command)
}
