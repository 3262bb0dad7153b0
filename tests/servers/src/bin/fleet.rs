//! A fleet on one machine, to look at: memcached, PostgreSQL and three hosts, until somebody presses Ctrl-C.
//!
//! `fleet HOST COMPONENT`: the binary of the host, and the component of the tenant `demo`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use namelock_test_servers::{Memcached, Postgres, Process};

const HOSTS: usize = 3;

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
    for (_, address) in &hosts {
        println!("host       {address}");
    }
    println!("try, in another terminal, one host after the other:");
    for (_, address) in &hosts {
        println!("  curl -i {address}/v1/demo/names -d '{{\"name\":\"blue room\",\"owner\":\"ann\"}}'");
    }
    println!(
        "the logs are in {}; Ctrl-C, or the end of standard input, stops everything",
        folder.path().display()
    );
    // Whoever is killed takes along what it has started; here it is also enough to close the terminal.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}

/// Starts a host, and tells where it listens.
fn start(binary: &Path, folder: &Path, memcached: &Memcached, postgres: &Postgres) -> (Process, String) {
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
    let stdout = process.child().stdout.take().expect("it has a standard output");
    let mut line = String::new();
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("it says where it listens");
    let address = line
        .strip_prefix("listening on ")
        .and_then(|rest| rest.split(' ').next());
    (
        process,
        address.expect("the host did not start; its log says why").to_owned(),
    )
}
