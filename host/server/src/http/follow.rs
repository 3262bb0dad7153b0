//! The log of a tenant while it is written, as server-sent events (the HTML standard, section 9.2).
//!
//! A follow is one answer that goes on until its caller, the host or the tenant's tokens end it. It holds none of the
//! tenant's calls and none of the host's, but one of the places of those who follow: so many of a tenant
//! (`limits.log_followers`), and of all tenants [one for sixteen connections](CONNECTIONS_FOR_EACH).
//!
//! Whether its token still has the right is looked at again when the tenants were read again, and at every heartbeat. A
//! follower that reads too slowly loses events and is told how many ([`namelock_sandbox::feed`]); one that reads nothing
//! is cut off by the kernel (`http.write_timeout`), and with HTTP/2, where one stream can stand still in a connection that goes on,
//! its stream is reset after that time.

mod event;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use namelock_account::Limit;
use namelock_sandbox::feed::{Follower, Next};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub(super) use self::event::ended;

use super::connections::Endless;
use crate::error::{ErrorKind, Problem};
use crate::tenants::{Ready, Tenants};
use crate::tokens::Presented;
use crate::tokens::right::Right;

/// How many connections the host has for each that may be a follower's.
const CONNECTIONS_FOR_EACH: usize = 16;

/// How often a follower that hears nothing else hears that the follow goes on. What does not arrive shows the host's
/// kernel that nobody is there; and proxies end what is silent for longer, usually for 30 to 60 s.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// After how long a client that was cut off is to follow again.
const RETRY: Duration = Duration::from_secs(2);

/// Tells nginx not to wait until it has more to pass on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Those who follow the logs of this host's tenants. Clones share it.
#[derive(Clone, Debug)]
pub struct Follows {
    places: Arc<Semaphore>,
    ended: CancellationToken,
}

impl Follows {
    /// As many as a host with so many connections may have.
    pub fn new(connections: usize) -> Self {
        let places = (connections / CONNECTIONS_FOR_EACH).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places)),
            ended: CancellationToken::new(),
        }
    }

    /// Ends all of them, because the host stops.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Begins to follow the log of this tenant for a request with these headers, which has the right to.
    // Keeps P6: followers are bounded, of a tenant and of all, and hold nothing that a call needs.
    pub(super) fn begin(
        &self,
        tenants: &Arc<Tenants>,
        ready: &Ready,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let (feed, account, max) = (&ready.tenant.feed, &ready.tenant.account, ready.log_followers);
        let follower = feed.follow(max).map_err(|_| {
            account.refuse(Limit::LogFollowers);
            let detail = "the tenant's log has as many followers as it may have (limits.log_followers)";
            Problem::new(ErrorKind::TenantLimit, detail)
        })?;
        account.note(Limit::LogFollowers, feed.followers() as u64, max as u64);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let detail = "the host has as many followers of logs as it may have";
            Problem::new(ErrorKind::Overloaded, detail)
        })?;
        let follow = Follow {
            follower,
            tenants: Arc::clone(tenants),
            tenant: Arc::clone(&ready.tenant.id),
            presented: Presented::of(headers),
            host_stops: self.ended.clone(),
            heartbeat: every(HEARTBEAT),
            _place: place,
        };
        let mut answer = Sse::new(follow.events()).into_response();
        answer
            .headers_mut()
            .insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        answer.extensions_mut().insert(Endless);
        Ok(answer)
    }
}

/// One follow.
struct Follow {
    follower: Follower,
    tenants: Arc<Tenants>,
    tenant: Arc<str>,
    presented: Presented,
    host_stops: CancellationToken,
    heartbeat: Interval,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    /// What the follower is sent.
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        let begin = stream::iter([Ok(Event::default().retry(RETRY))]);
        let rest = stream::unfold(Some(self), async |follow| {
            let mut follow = follow?;
            Some(match follow.next().await {
                Ok(event) => (Ok(event), Some(follow)),
                Err(why) => (Ok(Event::default().comment(why)), None),
            })
        });
        stream::StreamExt::chain(begin, rest)
    }

    /// Waits for the next event; an error says why there is none any more.
    async fn next(&mut self) -> Result<Event, &'static str> {
        loop {
            tokio::select! {
                biased;
                () = self.host_stops.cancelled() => return Err("the host stops"),
                _ = self.heartbeat.tick() => {
                    self.check()?;
                    let dropped = self.follower.dropped().map(event::dropped);
                    return Ok(dropped.unwrap_or(Event::DEFAULT_KEEP_ALIVE));
                }
                next = self.follower.next() => match next {
                    Next::Look => self.check()?,
                    Next::Event(told) => return Ok(event::told(&told)),
                    Next::Dropped(dropped) => return Ok(event::dropped(dropped)),
                }
            }
        }
    }

    /// Checks that it may still follow.
    // Keeps P7: a token that was revoked reads nothing more.
    fn check(&self) -> Result<(), &'static str> {
        let Some(ready) = self.tenants.get(&self.tenant) else {
            return Err("this tenant was removed");
        };
        let ready = ready.map_err(|_| "this tenant cannot be served any more")?;
        if !self.follower.follows(&ready.tenant.feed) {
            return Err("this tenant was removed and came again");
        }
        let allowed = ready.tokens.check_presented(&self.presented, Right::Log);
        allowed.map_err(|_| "this token does not have the right any more")
    }
}

/// Ticks so often, for the first time after one such time.
fn every(time: Duration) -> Interval {
    let mut interval = interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use namelock_sandbox::{CacheConfig, CompilerConfig, Feed, Sandbox, SandboxConfig};

    use super::*;

    fn tenants(dir: &std::path::Path) -> Tenants {
        let config = SandboxConfig {
            instances: 1,
            ..SandboxConfig::default()
        };
        let compiler = CompilerConfig {
            cache: CacheConfig {
                dir: dir.join("cache"),
                files: 1,
                bytes: 1,
            },
            ..CompilerConfig::default()
        };
        Tenants::new(Sandbox::new(&config, compiler).unwrap())
    }

    // Shows P7: whoever may not follow any more is found out without being told.
    #[tokio::test]
    async fn a_follow_of_a_tenant_that_is_gone_ends_at_its_heartbeat() {
        let (dir, feed) = (tempfile::tempdir().unwrap(), Arc::<Feed>::default());
        let places = Arc::new(Semaphore::new(1));
        let tenants = tenants(dir.path());
        tenants.apply(Vec::new());
        let follow = Follow {
            follower: feed.follow(1).unwrap(),
            tenants: Arc::new(tenants),
            tenant: "gone".into(),
            presented: Presented::of(&HeaderMap::new()),
            host_stops: CancellationToken::new(),
            heartbeat: every(Duration::from_millis(1)),
            _place: Arc::clone(&places).try_acquire_owned().unwrap(),
        };
        let body = Sse::new(follow.events()).into_response().into_body();
        let text = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text);
        assert!(
            text.contains("2000") && text.ends_with("this tenant was removed\n\n"),
            "{text}"
        );
        assert_eq!((feed.followers(), places.available_permits()), (0, 1));
    }
}
