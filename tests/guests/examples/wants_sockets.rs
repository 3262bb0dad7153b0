//! Connects to somewhere, and so asks for a power that no handler is given.

use std::net::TcpStream;

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(request: Request) -> Result<Registration, Rejection> {
    match TcpStream::connect("127.0.0.1:11211") {
        Ok(_) => Err(Rejection::Invalid(format!("connected for {}", request.name))),
        Err(error) => Err(Rejection::Unavailable(error.to_string())),
    }
}
