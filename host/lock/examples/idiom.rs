//! Holds the lock on a name until its input ends, also against programs that use the Python idiom:
//! `idiom NAME memcached://HOST:PORT`.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use namelock_lock::{AcquireError, LockConfig, LockUrl, Locks};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, lock] = arguments.as_slice() else {
        return Err("usage: idiom NAME memcached://HOST:PORT".into());
    };
    let config = LockConfig {
        shared_with_idiom: true,
        ..LockConfig::default()
    };
    let locks = Locks::open(&lock.parse::<LockUrl>()?, config)?;
    let lease = loop {
        // The empty namespace is that of the idiom.
        match locks.acquire("", name, Duration::ZERO).await {
            Ok(lease) => break lease,
            Err(AcquireError::Busy { retry_after }) => {
                println!("{name} is locked; try again in {retry_after:?}");
                return Ok(ExitCode::FAILURE);
            }
            // A process that has just started knows nothing of the locks of before, and waits until nobody can trust one.
            Err(AcquireError::Unavailable { reason, retry_after }) => {
                eprintln!("not yet: {reason}");
                tokio::time::sleep(retry_after.unwrap_or(Duration::from_secs(1))).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    println!("{name} is ours, with the fencing token {}", lease.fencing_token());
    let end = lease.end();
    tokio::select! {
        _ = tokio::task::spawn_blocking(|| io::read_to_string(io::stdin())) => lease.release().await?,
        // Whoever goes on now writes what somebody else may write too.
        () = end.lost() => return Err("the lease is over".into()),
    }
    locks.close(Duration::from_secs(1)).await;
    Ok(ExitCode::SUCCESS)
}
