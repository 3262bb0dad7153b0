//! Tries whatever could reach a network, and answers how much of it worked and why the rest did not.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

type Try = fn() -> io::Result<()>;

fn register(_: Request) -> Result<Registration, Rejection> {
    let tries: [(&str, Try); 6] = [
        ("connect", || TcpStream::connect("127.0.0.1:11211").map(drop)),
        ("connect6", || TcpStream::connect("[::1]:11211").map(drop)),
        ("listen", || TcpListener::bind("127.0.0.1:0").map(drop)),
        ("bind", || UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("bind6", || UdpSocket::bind("[::1]:0").map(drop)),
        ("look up", || ("localhost", 80).to_socket_addrs().map(drop)),
    ];
    let mut worked = Vec::new();
    for (name, attempt) in tries {
        match attempt() {
            Ok(()) => worked.push(name),
            Err(error) => println!("{name}: {error}"),
        }
    }
    Err(Rejection::Invalid(format!(
        "{} of {} worked: {worked:?}",
        worked.len(),
        tries.len()
    )))
}
