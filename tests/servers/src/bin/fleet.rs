//! A fleet on one machine, to look at: memcached, PostgreSQL and three hosts, until somebody presses Ctrl-C.
//!
//! `fleet HOST COMPONENT`: the binary of the host, and the component of the tenant `demo`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use namelock_test_servers::{Memcached, Postgres, Process};

const HOSTS: usize = 3;

/// How long a host may take to start.
const START: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [binary, component] = arguments.as_slice() else {
        eprintln!("usage: fleet HOST COMPONENT");
        std::process::exit(2);
    };
    let memcached = Memcached::as_recommended();
    println!("memcached  {}  ({})", memcached.url(), memcached.flags().join(" "));
    let postgres = Postgres::start();
    println!("PostgreSQL {}", postgres.url());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tenant = folder.path().join("tenants/demo");
    fs::create_dir_all(&tenant).expect("a folder for the tenant");
    fs::copy(component, tenant.join("handler.wasm")).expect("the component; `make build` makes it");
    let hosts: Vec<_> = (0..HOSTS)
        .map(|_| start(Path::new(binary), folder.path(), &memcached, &postgres))
        .collect();
    for (_, address, admin) in &hosts {
        println!("host       http://{address} (admin http://{admin})");
    }
    println!("try, in another terminal, one host after the other:");
    for (_, address, _) in &hosts {
        println!("  curl -i http://{address}/v1/demo/names -d '{{\"name\":\"blue room\",\"owner\":\"ann\"}}'");
    }
    println!(
        "the logs are in {}; Ctrl-C, or the end of standard input, stops everything",
        folder.path().display()
    );
    // Whoever is killed takes along what it has started; here it is also enough to close the terminal.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}

/// Starts a host, and tells where it listens: to callers, and to its operator.
fn start(
    binary: &Path,
    folder: &Path,
    memcached: &Memcached,
    postgres: &Postgres,
) -> (Process, SocketAddr, SocketAddr) {
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"))
        .expect("a log file");
    let binary = binary.canonicalize().expect("the binary; `make build` makes it");
    let mut command = Process::command(&binary, "`make build` makes it");
    command
        .current_dir(folder)
        .args(["serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"])
        .args(["--lock", &memcached.url(), "--names", &postgres.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut process = Process::spawn(&mut command);
    let Some((address, admin)) = process.listening(START) else {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("a host did not start; it logged\n{log}");
    };
    (process, address, admin)
}
