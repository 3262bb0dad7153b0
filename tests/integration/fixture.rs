//! A host of the test's own: the real binary with its tenants in a folder of its own, on free ports.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use namelock_test_artifacts as artifacts;
use namelock_test_servers::{Memcached, Process, wait_until_ready};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Hosts that do not care share what was compiled: a component is compiled once, not once in every test.
const SHARED_CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/namelock-cache");

/// How long a host may take to start on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// A host that is about to be started.
pub(crate) struct Builder {
    folder: TempDir,
    lock: String,
    names: Option<String>,
    config: String,
    cache: Option<PathBuf>,
    listen: &'static str,
    log: &'static str,
}

/// A running host.
pub(crate) struct Host {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) admin: String,
    folder: TempDir,
    client: reqwest::Client,
}

/// What a host answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tenants")).unwrap();
        Self {
            folder,
            lock: "memory:".to_owned(),
            names: None,
            config: String::new(),
            cache: None,
            listen: "127.0.0.1:0",
            log: "info",
        }
    }

    /// Where it listens for requests.
    pub(crate) fn listen(mut self, address: &'static str) -> Self {
        self.listen = address;
        self
    }

    /// How much it logs.
    pub(crate) fn log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    pub(crate) fn lock(mut self, server: &Memcached) -> Self {
        self.lock = server.url();
        self
    }

    pub(crate) fn lock_url(mut self, url: &str) -> Self {
        self.lock = url.to_owned();
        self
    }

    pub(crate) fn names(mut self, file: &Path) -> Self {
        self.names = Some(format!("sqlite:{}", file.display()));
        self
    }

    /// A directory of compiled components that no other host uses.
    pub(crate) fn cache(mut self, dir: &Path) -> Self {
        self.cache = Some(dir.to_owned());
        self
    }

    pub(crate) fn names_url(mut self, url: &str) -> Self {
        self.names = Some(url.to_owned());
        self
    }

    /// A configuration file in TOML.
    pub(crate) fn config(mut self, toml: &str) -> Self {
        self.config = toml.to_owned();
        self
    }

    /// A tenant with this component and, where it is not empty, this `tenant.toml`.
    pub(crate) fn tenant(self, id: &str, component: &str, toml: &str) -> Self {
        self.tenant_bytes(id, &fs::read(component).unwrap(), toml)
    }

    pub(crate) fn tenant_bytes(self, id: &str, component: &[u8], toml: &str) -> Self {
        let folder = self.folder.path().join("tenants").join(id);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("handler.wasm"), component).unwrap();
        if !toml.is_empty() {
            fs::write(folder.join("tenant.toml"), toml).unwrap();
        }
        self
    }

    /// The tenant `demo`, who runs `rooms`.
    pub(crate) fn demo(self) -> Self {
        self.tenant("demo", artifacts::ROOMS, "")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command line of the host.
    pub(crate) fn command(&self) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
        fs::write(path("namelock.toml"), &self.config).unwrap();
        let names = self
            .names
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", path("names.db").display()));
        command
            .current_dir(self.folder.path())
            .args(["serve", "--listen", self.listen, "--admin", "127.0.0.1:0"])
            .args(["--lock", &self.lock, "--names", &names])
            .arg("--config")
            .arg(path("namelock.toml"))
            .arg("--tenants")
            .arg(path("tenants"))
            .arg("--cache")
            .arg(self.cache.as_deref().unwrap_or(Path::new(SHARED_CACHE)))
            .env("NAMELOCK_LOG", self.log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).create(true).open(path("log")).unwrap());
        command
    }

    /// Starts the host, and waits until it accepts requests.
    pub(crate) fn start(self) -> Host {
        let mut process = Process::spawn(&mut self.command());
        let Some((public, admin)) = process.listening(START) else {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("the host did not start; it logged\n{log}");
        };
        Host {
            process,
            url: format!("http://{public}"),
            admin: format!("http://{admin}"),
            folder: self.folder,
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(30))
                .build()
                .unwrap(),
        }
    }
}

impl Host {
    /// Waits until lock and database answer.
    pub(crate) fn wait_until_ready(&self) {
        let admin = self.admin.strip_prefix("http://").unwrap().parse().unwrap();
        let ready = wait_until_ready(admin, Duration::from_secs(20));
        assert!(ready, "the host is never ready: {}", self.log());
    }

    /// Registers a name for an owner.
    pub(crate) async fn post(&self, tenant: &str, name: &str, owner: &str) -> Answer {
        self.post_json(tenant, &json!({ "name": name, "owner": owner })).await
    }

    pub(crate) async fn post_json(&self, tenant: &str, body: &Value) -> Answer {
        self.post_bytes(tenant, body.to_string().into_bytes()).await
    }

    pub(crate) async fn post_bytes(&self, tenant: &str, body: Vec<u8>) -> Answer {
        Answer::of(self.client.post(format!("{}/v1/{tenant}/names", self.url)).body(body)).await
    }

    pub(crate) async fn get(&self, tenant: &str, name: &str) -> Answer {
        Answer::of(self.client.get(format!("{}/v1/{tenant}/names/{name}", self.url))).await
    }

    pub(crate) async fn delete(&self, tenant: &str, name: &str, owner: &str) -> Answer {
        Answer::of(
            self.client
                .delete(format!("{}/v1/{tenant}/names/{name}?owner={owner}", self.url)),
        )
        .await
    }

    /// Any request to this path.
    pub(crate) async fn request(&self, method: reqwest::Method, path: &str) -> Answer {
        Answer::of(self.client.request(method, format!("{}{path}", self.url))).await
    }

    /// Any request at all; it is made of the client and the address of the host.
    pub(crate) async fn send(&self, request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> Answer {
        Answer::of(request(&self.client, &self.url)).await
    }

    /// A request to the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Answer::of(self.client.get(format!("{}{path}", self.admin))).await
    }

    /// The directory of a tenant, which need not exist.
    pub(crate) fn tenant(&self, id: &str) -> PathBuf {
        self.folder.path().join("tenants").join(id)
    }

    /// What it says of a tenant.
    pub(crate) async fn tenant_status(&self, id: &str) -> Value {
        let all = self.admin("/tenants").await.body;
        let all = all.as_array().unwrap();
        all.iter()
            .find(|status| status["tenant"] == id)
            .cloned()
            .unwrap_or_default()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Kills it as a power cut would, and starts another one on the same folder with the same settings.
    pub(crate) fn crash_and_start(mut self, builder: impl FnOnce(Builder) -> Builder) -> Self {
        self.process.kill();
        builder(Builder {
            folder: self.folder,
            lock: "memory:".to_owned(),
            names: None,
            config: String::new(),
            cache: None,
            listen: "127.0.0.1:0",
            log: "info",
        })
        .start()
    }

    /// Sends SIGTERM, and tells the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.process.signal("TERM");
        self.process
            .wait(Duration::from_secs(20))
            .expect("the host did not stop")
            .code()
    }
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("the host answers");
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: {
                let text = response.text().await.unwrap();
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            },
        }
    }

    /// The code of the problem that it is; of a success, its status.
    pub(crate) fn code(&self) -> String {
        self.body["code"]
            .as_str()
            .map_or_else(|| self.status.as_str().to_owned(), str::to_owned)
    }

    /// Checks that it is this problem, complete and without a word about the host.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.code().as_str()),
            (status, code),
            "{:?}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        for member in ["type", "title", "detail", "request_id"] {
            assert!(
                self.body[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member}: {:?}",
                self.body
            );
        }
        assert_eq!(self.body["status"], status);
        assert_eq!(self.headers["x-request-id"].to_str().unwrap(), self.body["request_id"]);
        assert_eq!(
            self.headers.contains_key("retry-after"),
            self.body["retry_after_ms"].is_u64()
        );
    }
}

/// Waits until `condition` holds, for at most `within`, and tells how long it took.
pub(crate) async fn wait_for(within: Duration, mut condition: impl FnMut() -> bool) -> Option<Duration> {
    let begin = Instant::now();
    while begin.elapsed() < within {
        if condition() {
            return Some(begin.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
}
