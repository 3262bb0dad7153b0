//! The usual lock with Redis: `SET key token NX PX`, and a script that deletes the key if the token is still ours.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use namelock_lock::LockKey;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script};

use super::EXPIRY_SECONDS;
use crate::closed_loop::{Work, closed_loop};
use crate::contest::Contestant;
use crate::cycles::NAMESPACE;

/// As Redis's own documentation of `SET` has it.
const RELEASE: &str = r#"
    if redis.call("get", KEYS[1]) == ARGV[1] then
        return redis.call("del", KEYS[1])
    else
        return 0
    end
"#;

/// A slow machine is no error here.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tasks that share one connection, over which commands are sent without waiting for each other's replies.
pub(super) struct Tasks {
    connection: MultiplexedConnection,
    release: Script,
    count: usize,
}

impl Tasks {
    pub(super) async fn connect(url: &str, count: usize) -> anyhow::Result<Self> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        let connection = Client::open(url)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .context("cannot connect to Redis")?;
        Ok(Self {
            connection,
            release: Script::new(RELEASE),
            count,
        })
    }
}

#[async_trait]
impl Contestant for Tasks {
    async fn work(&mut self, time: Duration) -> anyhow::Result<Work> {
        closed_loop(self.count, time, |caller, end| {
            let (mut connection, release) = (self.connection.clone(), self.release.clone());
            async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let begin = Instant::now();
                    let name = format!("{caller} {}", times.len());
                    cycle(&mut connection, &release, &name).await?;
                    times.push(begin.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

async fn cycle(connection: &mut MultiplexedConnection, release: &Script, name: &str) -> anyhow::Result<()> {
    let key = LockKey::new(NAMESPACE, name)?;
    // One name is one caller's here, so it is as good a token as any.
    let token = name;
    let set: Option<String> = redis::cmd("SET")
        .arg(key.as_str())
        .arg(token)
        .arg("NX")
        .arg("PX")
        .arg(u64::from(EXPIRY_SECONDS) * 1000)
        .query_async(connection)
        .await?;
    ensure!(set.is_some(), "{name} is locked");
    let deleted: u32 = release.key(key.as_str()).arg(token).invoke_async(connection).await?;
    ensure!(deleted == 1, "the lock on {name} was lost");
    Ok(())
}
