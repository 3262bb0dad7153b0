//! Listeners that a service manager has opened: `sd_listen_fds(3)`.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use namelock_test_servers::{Process, free_port};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Builder, DEADLINE, eventually};

/// Has the command inherit these sockets as 3, 4, … with these names, as systemd does.
fn pass(command: &Command, sockets: &[&dyn AsFd], names: &str) -> Command {
    let mut passing = String::from("export LISTEN_PID=$$; exec \"$@\"");
    for (to, socket) in (3..).zip(sockets) {
        let socket = socket.as_fd();
        // This process keeps its own; whatever it starts from now on inherits it, and only this shell gives it to a host.
        socket2::SockRef::from(&socket).set_cloexec(false).unwrap();
        passing += &format!(" {to}<&{}", socket.as_raw_fd() + MOVED);
    }
    // Out of the way first, so that no socket is overwritten before it was passed.
    let moves = sockets.iter().map(|socket| {
        let from = socket.as_fd().as_raw_fd();
        format!("exec {}<&{from}; ", from + MOVED)
    });
    let script = moves.collect::<String>() + &passing;
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).arg("bash").arg(command.get_program());
    shell
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    shell.current_dir(command.get_current_dir().unwrap());
    shell
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    shell
}

/// Beyond every descriptor of a test.
const MOVED: i32 = 500;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_host_serves_on_the_sockets_of_its_manager() {
    let builder = Builder::new().demo().listen("127.0.0.1:1").log("info");
    let ((public, public_address), (admin, admin_address)) = (listener(), listener());
    // In the other order than those without a name.
    let command = pass(&builder.command(), &[&admin, &public], "admin:http");
    let mut host = builder.start_command(command);
    assert_eq!(host.addresses(), (public_address, admin_address));
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    assert_eq!(host.admin("/healthz").await.status, 200);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test]
async fn a_socket_without_a_name_is_the_public_one_and_the_host_opens_the_other() {
    let builder = Builder::new().demo().listen("127.0.0.1:1");
    let (public, public_address) = listener();
    let host = {
        let command = pass(&builder.command(), &[&public], "namelock.socket");
        builder.start_command(command)
    };
    assert_eq!(host.addresses().0, public_address);
    assert_eq!(host.post("demo", "a", "ann").await.status, 201);
    assert_eq!(host.admin("/healthz").await.status, 200);
}

#[test]
fn what_is_no_listener_of_a_host_is_refused_with_what_to_write() {
    let refused = |sockets: &[&dyn AsFd], names: &str, expect: &str| {
        let builder = Builder::new();
        let mut command = pass(&builder.command(), sockets, names);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expect), "{said}");
    };
    let folder = tempfile::tempdir().unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = UnixListener::bind(folder.path().join("socket")).unwrap();
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let hint = "; write ListenStream=ADDRESS:PORT into its .socket unit";
    refused(
        &[&datagrams],
        "http",
        "LISTEN_FDS: descriptor 3 is not a TCP socket that listens (",
    );
    refused(&[&datagrams], "http", hint);
    refused(&[&local], "http", hint);
    refused(
        &[&silent],
        "http",
        "descriptor 3 is not a TCP socket that listens (nobody has called listen(2))",
    );
    let (good, _) = listener();
    refused(&[&good, &silent], "http:admin", "descriptor 4 is not");
    refused(
        &[&good, &good, &good],
        "http:admin:http",
        "LISTEN_FDS: 3 sockets are passed to this process",
    );
    refused(&[&good], "https", "no listener of a host is called `https`");
    refused(&[&good, &good], "http:http", "two sockets have the same name");
}

// Shows P7: what would be refused at its own address is refused at that of the manager's socket.
#[test]
fn a_socket_that_others_can_reach_needs_tokens_as_an_address_does() {
    let builder = Builder::new().demo();
    let public = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = pass(&builder.command(), &[&public], "http");
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("other machines can reach 0.0.0.0:") && said.contains("tenant `demo` has no tokens"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_lost_while_a_host_is_started_again_on_its_managers_socket() {
    let (public, address) = listener();
    let (admin, admin_address) = listener();
    let builder = Builder::new().demo().config("http.lame_duck = '0s'\n");
    let start = || {
        let mut command = pass(&builder.command(), &[&public, &admin], "http:admin");
        let mut process = Process::spawn(&mut command);
        assert_eq!(process.listening(10 * DEADLINE), Some((address, admin_address)));
        process
    };
    let (answered, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .timeout(5 * DEADLINE)
        .build()
        .unwrap();
    // Tasks of their own, which go on calling while this one waits for a host to stop and for the next to start.
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (answered, stop, client) = (Arc::clone(&answered), stop.clone(), client.clone());
        callers.spawn(async move {
            while !stop.is_cancelled() {
                let answer = client.get(format!("http://{address}/v1/demo/names/a")).send().await;
                assert_eq!(answer.expect("no connection is refused or cut off").status(), 404);
                answered.fetch_add(1, Relaxed);
            }
        });
    }
    let go_on = async || {
        let before = answered.load(Relaxed);
        eventually("callers are answered", async || answered.load(Relaxed) > before + 20).await;
    };
    let mut host = tokio::task::block_in_place(start);
    for _ in 0..3 {
        go_on().await;
        host.signal("TERM");
        host = tokio::task::block_in_place(|| {
            assert_eq!(host.wait(DEADLINE).expect("the host stops").code(), Some(0));
            start()
        });
    }
    go_on().await;
    stop.cancel();
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn systemd_starts_a_host_when_somebody_connects() {
    let port = free_port();
    let builder = Builder::new().demo().listen("127.0.0.1:1");
    let host = builder.command();
    let mut command = Process::command("systemd-socket-activate", "install systemd");
    command
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg("--fdname=http")
        .args(
            host.get_envs()
                .filter_map(|(key, value)| Some(format!("--setenv={}={}", key.to_str()?, value?.to_str()?))),
        )
        .arg(host.get_program())
        .args(host.get_args())
        .current_dir(builder.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _systemd = Process::spawn(&mut command);
    let client = reqwest::Client::builder().timeout(10 * DEADLINE).build().unwrap();
    let body = r#"{"name":"a","owner":"ann"}"#;
    let mut answer = None;
    eventually("systemd listens", async || {
        let request = client.post(format!("http://127.0.0.1:{port}/v1/demo/names")).body(body);
        answer = request.send().await.ok();
        answer.is_some()
    })
    .await;
    assert_eq!(answer.unwrap().status(), 201);
}
