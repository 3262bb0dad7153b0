//! A batch of the lock: its commands are written and sent, their replies received and read, by the code of the lock.
//!
//! The batch is such as a lane sends it: the commands of callers, and around them the looks that show whether the server still
//! knows its locks. The server is this very task, which has written its replies before the batch is sent; so nobody waits.

use anyhow::ensure;
use namelock_bench_check::round;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use self::codec::{Command, Reply};
use self::stream::Stream;
use self::wire::Wire;

#[expect(dead_code, reason = "the lock has more commands")]
#[path = "../../../../host/lock/src/memcached/codec.rs"]
mod codec;
#[expect(
    dead_code,
    reason = "the lock may be sent over TLS, and knows when a connection is broken"
)]
#[path = "../../../../host/lock/src/memcached/stream.rs"]
mod stream;
#[expect(dead_code, reason = "the lock has more commands")]
#[path = "../../../../host/lock/src/memcached/wire.rs"]
mod wire;

/// As long as the key of a lock in a namespace of four letters.
const KEYS: [&str; 4] = [
    "namelock:demo:00c9da2ea0ba4a41e8c2ac6e29ba2b1c",
    "namelock:demo:3f2b7c0b8b9d4c6d9e0f1a2b3c4d5e6f",
    "namelock:demo:8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d",
    "namelock:demo:f0e1d2c3b4a5968778695a4b3c2d1e0f",
];

const EPOCH: &str = "1763900000000000000";

pub(super) async fn measure() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (mut wire, (mut server, _)) = (Wire::new(Stream::Plain(client?)), accepted?);
    let (batch, replies) = batch();
    let mut sent = Vec::with_capacity(4096);
    for _ in 0..round::ALL {
        server.write_all(replies.as_bytes()).await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        round::boundary();
        let exchanged = wire.exchange(&batch, &mut outcomes).await;
        round::boundary();
        exchanged?;
        let is_taken = matches!(outcomes.get(1), Some(Ok(Reply::Done { cas: 12 })));
        ensure!(
            is_taken && outcomes.len() == batch.len(),
            "the replies were not understood: {outcomes:?}"
        );
        sent.clear();
        server.read_buf(&mut sent).await?;
    }
    Ok(())
}

/// The commands, and what the server replies.
fn batch() -> (Vec<(&'static str, Command)>, String) {
    let main = (
        "namelock:@epoch",
        Command::LookAtAge,
        format!("VA 19 c1 t-1 l3 O# {EPOCH}"),
    );
    let mut all = vec![main.clone()];
    for key in KEYS {
        let add = Command::Add {
            ttl_seconds: 13,
            value: 1_763_900_000_000_000_042,
        };
        all.push((key, add, "HD c12 O#".to_owned()));
        all.push((key, add, "NF O#".to_owned()));
        let renew = Command::Renew {
            ttl_seconds: 13,
            cas: 12,
        };
        all.push((key, renew, "HD c13 O#".to_owned()));
        all.push((key, Command::Look, format!("VA 19 c13 t12 O# {EPOCH}")));
        all.push((key, Command::Delete { cas: 13 }, "HD O#".to_owned()));
        all.push((key, Command::Delete { cas: 12 }, "EX O#".to_owned()));
    }
    all.push(("namelock:@epoch:126", Command::Look, format!("VA 19 c4 t-1 O# {EPOCH}")));
    all.push(("namelock:@fleet", Command::LookAtCas, "HD c5 O#".to_owned()));
    all.push(main);
    let replies = all.iter().enumerate().map(|(opaque, (_, _, reply))| {
        let reply = reply.replace('#', &opaque.to_string());
        // The value of an item has a line of its own.
        reply.replace(&format!(" {EPOCH}"), &format!("\r\n{EPOCH}")) + "\r\n"
    });
    let replies = replies.collect();
    (
        all.into_iter().map(|(key, command, _)| (key, command)).collect(),
        replies,
    )
}
