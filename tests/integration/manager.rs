//! What a service manager hears of a host, over a real socket: `sd_notify(3)`.

mod sockets;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Instant;

use crate::fixture::{Builder, DEADLINE, Host};

/// A service manager that listens, as systemd does.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn listen(builder: &Builder) -> Self {
        let path = builder.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    /// The next report that is not a beat of the watchdog, and the number of beats before it.
    fn next(&self) -> (String, usize) {
        let mut beats = 0;
        loop {
            match self.receive() {
                beat if beat == "WATCHDOG=1\n" => beats += 1,
                report => return (report, beats),
            }
        }
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the host reports");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

fn serving(host: &Host) -> String {
    let (public, admin) = host.addresses();
    format!("READY=1\nSTATUS=listening on http://{public} (admin http://{admin})\n")
}

#[tokio::test]
async fn a_service_manager_hears_of_the_start_of_reloads_and_of_the_stop() {
    let builder = Builder::new().demo().config("http.lame_duck = '10m'\n");
    let manager = Manager::listen(&builder);
    let mut command = builder.command();
    command.env("NOTIFY_SOCKET", &manager.path);
    let host = builder.start_command(command);
    assert_eq!(manager.next().0, "STATUS=loading the tenants\n");
    assert_eq!(manager.next().0, serving(&host));

    host.process.signal("HUP");
    let (reloading, _) = manager.next();
    let lines: Vec<_> = reloading.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    // The manager compares it with its own time of the signal: what it hears of an earlier reload does not count.
    let at: u128 = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!(
        at > 0 && at as f64 <= (uptime + 1.0) * 1e6,
        "{at} is not within {uptime} s"
    );
    assert_eq!(manager.next().0, serving(&host));

    fs::remove_dir_all(host.folder().join("tenants")).unwrap();
    host.process.signal("HUP");
    assert!(manager.next().0.starts_with("RELOADING=1\n"));
    let (again, _) = manager.next();
    let expect = "; the tenants could not be read again, see the log\n";
    assert!(again.starts_with("READY=1\n") && again.ends_with(expect), "{again}");

    host.process.signal("TERM");
    assert_eq!(manager.next().0, "STOPPING=1\nSTATUS=finishing what was begun\n");
    // It was told at the beginning of the time in which everything is served.
    assert_eq!(host.admin("/healthz").await.status, 200);
    host.get("nobody", "a").await.is_problem(404, "unknown_tenant");
}

#[test]
fn the_watchdog_hears_of_a_host_that_works_until_it_has_stopped() {
    let builder = Builder::new().demo().config("http.lame_duck = '10m'\n");
    let manager = Manager::listen(&builder);
    let mut command = builder.command();
    command
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "200000");
    let begin = Instant::now();
    let mut host = builder.start_command(command);
    let mut beats = 0;
    loop {
        let (report, before) = manager.next();
        beats += before;
        if report == serving(&host) {
            break;
        }
    }
    for _ in 0..5 {
        assert_eq!(manager.receive(), "WATCHDOG=1\n");
        beats += 1;
    }
    // They come no faster than at half of the time that the manager said; how much slower, the machine decides.
    let most = begin.elapsed().as_millis() / 100 + 1;
    assert!(beats as u128 <= most, "{beats} beats, and {most} are due");
    host.process.signal("TERM");
    manager.next();
    assert_eq!(
        manager.receive(),
        "WATCHDOG=1\n",
        "a host that finishes what was begun still works"
    );
    assert_eq!(host.stop(), Some(0));
}

// Shows P6: a service manager that does not read keeps no request waiting.
#[tokio::test]
async fn a_host_serves_while_its_manager_does_not_read() {
    let builder = Builder::new().demo();
    let manager = Manager::listen(&builder);
    let mut command = builder.command();
    // So many beats soon fill what the kernel keeps for a reader.
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200");
    let mut host = builder.start_command(command);
    let filler = UnixDatagram::unbound().unwrap();
    filler.connect(&manager.path).unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send(b"STATUS=full").is_ok() {}
    for name in ["a", "b", "c"] {
        assert_eq!(host.post("demo", name, "ann").await.status, 201);
    }
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_manager_that_is_not_there_is_no_reason_not_to_serve() {
    let builder = Builder::new().demo();
    let mut command = builder.command();
    command.env("NOTIFY_SOCKET", builder.folder().join("nothing"));
    let mut host = builder.start_command(command);
    assert_eq!(host.stop(), Some(0));
    let log = host.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("cannot tell the service manager"));
    assert_eq!(lines.count(), 1, "{log}");
}
