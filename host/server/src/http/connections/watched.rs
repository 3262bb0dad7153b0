//! The service of one connection, which notes when a request begins, has come whole, and ends.

use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper::{Request, Version};
use hyper_util::service::TowerToHyperService;
use namelock_account::Bucket;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::stream::Certified;
use super::taken::Taken;

/// What is done with the requests of a connection before the service has them, and with its answers.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) activity: Arc<Activity>,
    /// Header lines of a request.
    pub(super) headers: usize,
    pub(super) address: Option<PeerAddress>,
    pub(super) certified: Option<Certified>,
    /// Cancelled once the host stops: then an answer says that it is the connection's last one.
    pub(super) stop: CancellationToken,
    /// How many more requests may be given up, where that does not end the connection by itself.
    pub(super) resets: Option<Resets>,
}

/// Where a request comes from, as an extension of it: a caller, or the proxy in front of it.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// Marks an answer, as an extension, that has no end of its own. It has to end soon after the shutdown; nobody waits for one
/// that is not read.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// How many requests of an HTTP/2 connection may be given up in a second.
// Keeps P6: who begins requests and takes them back at once makes the host begin them without ever waiting for an answer
// (CVE-2023-44487). The library counts only those that are taken back before it has begun them.
#[derive(Clone)]
pub(super) struct Resets(Arc<Mutex<Bucket>>);

impl Resets {
    pub(super) fn new(in_a_second: u32) -> Self {
        Self(Arc::new(Mutex::new(Bucket::new(
            in_a_second,
            in_a_second,
            Instant::now(),
        ))))
    }
}

impl Watched {
    /// Watches over this service.
    pub(super) fn over(
        self,
        service: Router,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static> {
        let service = TowerToHyperService::new(service);
        service_fn(move |mut request: Request<Incoming>| {
            let version = request.version();
            let begun = self.activity.begin(version == Version::HTTP_11);
            let begun = begun.then(|| InRequest {
                activity: Arc::clone(&self.activity),
                resets: self.resets.clone(),
                endless: false,
            });
            if let Some(address) = self.address {
                request.extensions_mut().insert(address);
            }
            if let Some(certified) = &self.certified {
                request.extensions_mut().insert(certified.clone());
            }
            // With HTTP/1 the library counts them.
            let fits = version < Version::HTTP_2 || request.headers().len() <= self.headers;
            let answer = fits.then(|| service.call(request.map(|body| WatchedBody::new(body, &self.activity))));
            let stop = self.stop.clone();
            async move {
                let Some(begun) = begun else {
                    // The connection is about to be closed, and whatever is in it dropped.
                    return pending().await;
                };
                let mut answer = match answer {
                    Some(answer) => answer.await?,
                    None => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
                };
                // With HTTP/2 the library says so by itself, for the connection as a whole.
                if version < Version::HTTP_2 && stop.is_cancelled() {
                    answer
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(begun.until_said(answer))
            }
        })
    }
}

/// A request that has begun, until it is answered or dropped.
struct InRequest {
    activity: Arc<Activity>,
    /// None once it is answered.
    resets: Option<Resets>,
    /// Whether its answer has no end of its own.
    endless: bool,
}

impl InRequest {
    /// The request ends now; where its answer is made while it is sent, with the answer.
    fn until_said(mut self, answer: Response) -> Response {
        self.resets = None;
        if answer.body().size_hint().exact().is_some() {
            return answer;
        }
        self.activity.answer();
        if answer.extensions().get::<Endless>().is_some() {
            self.activity.begin_endless();
            self.endless = true;
        }
        let taken = Taken::of_this_stream();
        if let Some(taken) = &taken {
            taken.begin();
        }
        answer.map(|body| {
            axum::body::Body::new(Said {
                body,
                taken,
                _begun: self,
            })
        })
    }
}

/// The body of an answer that goes on for longer than its request's work.
struct Said {
    body: axum::body::Body,
    /// None: it is no stream of HTTP/2, and the kernel finds out whether the peer takes it.
    taken: Option<Arc<Taken>>,
    _begun: InRequest,
}

impl Body for Said {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(taken) = &this.taken {
            taken.asked(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        if self.endless {
            self.activity.end_endless();
        }
        self.activity.end();
        if let Some(Resets(bucket)) = &self.resets
            && bucket.lock().take(Instant::now()).is_err()
        {
            tracing::debug!("a connection is cut off: too many of its requests were given up");
            self.activity.cut_off();
        }
    }
}

/// A body that says when it has been read to its end.
struct WatchedBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl WatchedBody {
    fn new(body: Incoming, activity: &Arc<Activity>) -> Self {
        let watched = Self {
            body,
            activity: Arc::clone(activity),
        };
        watched.look();
        watched
    }

    fn look(&self) {
        if self.body.is_end_stream() {
            self.activity.run();
        }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            None => this.activity.run(),
            Some(_) => this.look(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
