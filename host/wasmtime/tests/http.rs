//! The example host: several processes, one memcached, and a plain `wasi:http` component that takes the lock on a name.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use namelock_test_artifacts::TURNSTILE;
use namelock_test_servers::{Memcached, wait_until};

/// How long a host may take to compile the component, or to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The example, running.
struct Host {
    child: Child,
    address: SocketAddr,
}

impl Host {
    fn start(memcached: SocketAddr) -> Self {
        let mut child = Command::new(example())
            .args([TURNSTILE, "127.0.0.1:0", &format!("memcached://{memcached}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        said.read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.and_then(|address| address.parse().ok());
        Self {
            address: address.unwrap_or_else(|| panic!("it said {line:?}")),
            child,
        }
    }

    /// At first nothing is granted: hosts that know nothing of before wait until no lease of before can be trusted.
    fn wait_until_it_grants(&self) {
        let name = format!("warm-up-{}", self.child.id());
        assert!(
            wait_until(PATIENCE, || self.ask(&name).status == 200),
            "it never grants"
        );
    }

    /// Asks for a name, and sends no more than the beginning of a body.
    fn ask(&self, name: &str) -> Request {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        let head =
            format!("POST /{name} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it takes the request");
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).expect("it answers");
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        Request {
            status: status.expect("it answers as HTTP"),
            stream,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request whose answer has begun.
struct Request {
    status: u16,
    stream: BufReader<TcpStream>,
}

impl Request {
    /// Ends the body, and reads the answer to its end.
    fn end(mut self) -> String {
        // One that was refused may be over already.
        let _ = self.stream.get_mut().write_all(b"0\r\n\r\n");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("it ends");
        answer
    }
}

/// Examples are built with the tests of their package, into the folder beside theirs.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test
        .ancestors()
        .nth(2)
        .expect("tests are in a folder of the target directory");
    target.join("examples/http")
}

#[test]
fn of_those_who_ask_two_processes_for_a_name_one_gets_it() {
    let memcached = Memcached::start();
    let hosts = [Host::start(memcached.address()), Host::start(memcached.address())];
    hosts.iter().for_each(Host::wait_until_it_grants);
    let asked: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = hosts
            .iter()
            .cycle()
            .take(16)
            .map(|host| scope.spawn(|| host.ask("room")))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it asks"))
            .collect()
    });
    let (got, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(|request| request.status == 200);
    assert_eq!(got.len(), 1, "one at a time gets through");
    assert!(refused.iter().all(|request| request.status == 423));
    // Other names are not concerned, and it is free again once its holder is through.
    assert_eq!(hosts[0].ask("other-room").status, 200);
    got.into_iter().for_each(|request| drop(request.end()));
    assert_eq!(hosts[1].ask("room").status, 200);
}

#[test]
fn what_a_process_held_that_was_killed_is_free_when_its_lock_has_expired() {
    let memcached = Memcached::start();
    let (mut first, second) = (Host::start(memcached.address()), Host::start(memcached.address()));
    [&first, &second].into_iter().for_each(Host::wait_until_it_grants);
    let held = first.ask("room");
    assert_eq!((held.status, second.ask("room").status), (200, 423));
    first.child.kill().expect("it runs");
    assert!(
        wait_until(PATIENCE, || second.ask("room").status == 200),
        "it is never free"
    );
}
