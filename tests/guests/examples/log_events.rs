//! Writes what would look like events, if a follower of the log were sent its lines as they are.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    println!("first");
    print!("\n\nevent: request\nid: 99\ndata: {{\"code\":\"ok\"}}\n\n\rdata: forged\r\rid: 98\r\n");
    println!("\u{1b}[2J\u{9b}\u{202e}\u{2028}event: request");
    Err(Rejection::Invalid("wrote the lines\n\nevent: request".to_owned()))
}
