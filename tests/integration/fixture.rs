//! A host for one test: the real binary with tenants in a folder of its own, on free ports.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use namelock_test_artifacts as artifacts;
use namelock_test_servers::{Memcached, Process, wait_until_ready};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Hosts share what was compiled unless a test says otherwise: a component is compiled once, not once in every test.
const SHARED_CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/namelock-cache");

/// How long a test waits for what has to happen. On any machine, also a slow and busy one, waiting that long means that
/// it never happens; so no test depends on how fast something is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How long a host may take to start: it compiles the components of all its tenants first, unless they were compiled before.
const START: Duration = Duration::from_secs(600);

/// Comes before every configuration: no tenant is still being compiled when the host says that it serves.
const CONFIG: &str = "tenants.wait = '10m'\n";

/// What a tenant may do where a test does not say: the defaults are too little for a machine that has other things to
/// do, and for tests that ask as fast as they can.
const PATIENT: [&str; 2] = ["wall_time = '1m'", "burst = 2000"];

/// Leases that do not end while a test waits. A lock that is gone within [`DEADLINE`] was released, and did not expire.
pub(crate) const LONG_LEASES: &str = r#"
    [lock]
    lease = "5m"
    max_hold = "5m"
    [limits.max]
    cpu_time = "30s"
    wall_time = "5m"
"#;

/// Calls that do not run out of time while a test waits; the configuration has to allow it.
pub(crate) const LONG_CALLS: &str = r#"
    [limits]
    cpu_time = "30s"
    wall_time = "5m"
"#;

/// A host that is about to be started, and everything that it is started with.
pub(crate) struct Builder {
    folder: TempDir,
    lock: String,
    names: Option<String>,
    config: String,
    cache: Option<PathBuf>,
    listen: String,
    pub(crate) admin: String,
    log: &'static str,
    pub(crate) tenants: PathBuf,
}

/// A running host.
pub(crate) struct Host {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) admin: String,
    builder: Builder,
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
            tenants: folder.path().join("tenants"),
            folder,
            lock: "memory:".to_owned(),
            names: None,
            config: String::new(),
            cache: None,
            listen: "127.0.0.1:0".to_owned(),
            admin: "127.0.0.1:0".to_owned(),
            log: "info",
        }
    }

    /// The address on which it listens for requests.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// The filter of its log.
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

    /// The configuration file.
    fn toml(&self) -> String {
        let config = &self.config;
        if config.contains("limits =") {
            return format!("{CONFIG}{config}");
        }
        let (before, after) = config.split_once("[limits]\n").unwrap_or(("", config));
        let is_inside = before.len() + after.len() < config.len();
        let said = |line: &&str| line.split_once(' ').is_some_and(|(key, _)| config.contains(key));
        let lines = PATIENT.iter().filter(|line| !said(line));
        if is_inside {
            let lines: String = lines.map(|line| format!("{line}\n")).collect();
            format!("{CONFIG}{before}[limits]\n{lines}{after}")
        } else {
            let lines: String = lines.map(|line| format!("limits.{line}\n")).collect();
            format!("{CONFIG}{lines}{config}")
        }
    }

    /// The command line of the host.
    pub(crate) fn command(&self) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Process::command(env!("CARGO_BIN_EXE_namelock"), "the build makes it");
        fs::write(path("namelock.toml"), self.toml()).unwrap();
        let names = self
            .names
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", path("names.db").display()));
        command
            .current_dir(self.folder.path())
            .args(["serve", "--listen", &self.listen, "--admin", &self.admin])
            .args(["--lock", &self.lock, "--names", &names])
            .args([Path::new("--config"), &path("namelock.toml")])
            .args([Path::new("--tenants"), &self.tenants])
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
        let command = self.command();
        self.spawn(command)
    }

    /// Starts it with a command that was made of [`command`](Self::command).
    pub(crate) fn start_command(self, command: Command) -> Host {
        self.spawn(command)
    }

    /// The same with its log going elsewhere.
    pub(crate) fn start_with_stderr(self, stderr: Stdio) -> Host {
        let mut command = self.command();
        command.stderr(stderr);
        self.spawn(command)
    }

    fn spawn(self, mut command: Command) -> Host {
        let (process, [public, admin]) = self.run(&mut command);
        Host {
            process,
            url: format!("http://{public}"),
            admin: format!("http://{admin}"),
            builder: self,
            client: reqwest::Client::builder().timeout(5 * DEADLINE).build().unwrap(),
        }
    }

    /// Runs this command, and waits until it says where it listens.
    fn run(&self, command: &mut Command) -> (Process, [SocketAddr; 2]) {
        let mut process = Process::spawn(command);
        let Some((public, admin)) = process.listening(START) else {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("the host did not start; it logged\n{log}");
        };
        (process, [public, admin])
    }
}

impl Host {
    /// Its public and its admin address.
    pub(crate) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.address().parse().unwrap(), self.admin_address().parse().unwrap())
    }

    /// Has it stop as a service manager does, and once more when it has been left alone; then starts it again on the same
    /// addresses, with the same folder and settings. Returns the exit code, when it is ready.
    pub(crate) async fn restart(&mut self, left_alone: impl AsyncFn() -> bool) -> Option<i32> {
        self.process.signal("TERM");
        eventually("nobody uses a host that stops", left_alone).await;
        self.process.signal("TERM");
        // What waits here keeps a thread, and the others go on.
        tokio::task::block_in_place(|| {
            let code = self.process.wait(DEADLINE).expect("the host did not stop").code();
            (self.builder.listen, self.builder.admin) = (self.address().to_owned(), self.admin_address().to_owned());
            let mut command = self.builder.command();
            (self.process, _) = self.builder.run(&mut command);
            self.wait_until_ready();
            code
        })
    }

    /// Waits until lock and database answer.
    pub(crate) fn wait_until_ready(&self) {
        let ready = wait_until_ready(self.admin_address().parse().unwrap(), DEADLINE);
        assert!(ready, "the host is never ready: {}", self.log());
    }

    /// Where it listens for requests, as `address:port`.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    fn admin_address(&self) -> &str {
        self.admin.strip_prefix("http://").unwrap()
    }

    /// Connects to it, for what no client library would send. A read fails when nothing comes for as long as a test waits.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
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

    /// Registers with an `Idempotency-Key`.
    pub(crate) async fn post_keyed(&self, tenant: &str, key: &str, body: &Value) -> Answer {
        let request = |client: &reqwest::Client, url: &str| client.post(format!("{url}/v1/{tenant}/names"));
        self.send(|client, url| {
            request(client, url)
                .header("idempotency-key", key)
                .body(body.to_string())
        })
        .await
    }

    /// Changes a registration.
    pub(crate) async fn patch(&self, tenant: &str, name: &str, body: &Value) -> Answer {
        let path = format!("/v1/{tenant}/names/{name}");
        self.send(|client, url| client.patch(format!("{url}{path}")).body(body.to_string()))
            .await
    }

    /// Changes a registration with an `Idempotency-Key`.
    pub(crate) async fn patch_keyed(&self, tenant: &str, name: &str, key: &str, body: &Value) -> Answer {
        let path = format!("/v1/{tenant}/names/{name}");
        let request = |client: &reqwest::Client, url: &str| client.patch(format!("{url}{path}"));
        self.send(|client, url| {
            request(client, url)
                .header("idempotency-key", key)
                .body(body.to_string())
        })
        .await
    }

    /// Lists names; `query` is what stands behind the question mark.
    pub(crate) async fn list(&self, tenant: &str, query: &str) -> Answer {
        self.request(reqwest::Method::GET, &format!("/v1/{tenant}/names?{query}"))
            .await
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

    /// Any request, made of the client and the URL of the host.
    pub(crate) async fn send(&self, request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> Answer {
        Answer::of(request(&self.client, &self.url)).await
    }

    /// A request to the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Answer::of(self.client.get(format!("{}{path}", self.admin))).await
    }

    /// The folder that it was started in.
    pub(crate) fn folder(&self) -> &Path {
        self.builder.folder()
    }

    /// The directory of a tenant, which need not exist.
    pub(crate) fn tenant(&self, id: &str) -> PathBuf {
        self.builder.folder().join("tenants").join(id)
    }

    /// What it says about a tenant; null: nothing.
    pub(crate) async fn tenant_status(&self, id: &str) -> Value {
        let all = self.admin("/tenants").await.body;
        let all = all["tenants"].as_array().unwrap();
        all.iter()
            .find(|status| status["tenant"] == id)
            .cloned()
            .unwrap_or_default()
    }

    /// What it has logged up to now; of a host that runs, once all of it is written.
    pub(crate) fn log(&self) -> String {
        let begin = Instant::now();
        while self.log_is_queued() && begin.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::read_to_string(self.builder.folder().join("log")).unwrap()
    }

    /// Whether lines of its log are still to be written; one that has ended has written them.
    fn log_is_queued(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.admin.strip_prefix("http://").unwrap())?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        ask().is_ok_and(|text| {
            let queued = text
                .lines()
                .find_map(|line| line.strip_prefix("namelock_log_queue_bytes "));
            queued.is_some_and(|bytes| bytes != "0")
        })
    }

    /// Kills it as a power cut would, and starts it again with the same folder and settings.
    pub(crate) fn crash_and_start(mut self) -> Self {
        self.process.kill();
        self.builder.start()
    }

    /// Has it stop at once, and returns the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.process.signal("INT");
        self.process.wait(DEADLINE).expect("the host did not stop").code()
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

    /// Whether it says of itself that it repeats an earlier one.
    pub(crate) fn is_replayed(&self) -> bool {
        self.headers
            .get("idempotency-replayed")
            .is_some_and(|value| value == "true")
    }

    /// Checks that it is this problem with everything that a problem has.
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

/// Waits until a condition holds, and fails with the words of `what` should hold when it never does.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let held = tokio::time::timeout(DEADLINE, holds).await;
    assert!(held.is_ok(), "not true after {DEADLINE:?}: {what}");
}

/// Waits until somebody holds a lock.
pub(crate) async fn lock_is_taken(memcached: &Memcached) {
    eventually("a lock is taken", async || !memcached.raw().lock_keys().is_empty()).await;
}

/// Waits until nobody holds a lock.
pub(crate) async fn no_lock_is_left(memcached: &Memcached) {
    eventually("no lock is left", async || memcached.raw().lock_keys().is_empty()).await;
}
