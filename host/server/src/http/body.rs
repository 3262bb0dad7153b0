//! Reads the body of a request, within its limits.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::{ErrorKind, Problem};

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Longest body, in bytes.
    pub max: usize,
    /// How long it may take to arrive.
    pub timeout: Duration,
}

/// Reads a body to its end.
// Keeps P6: a body has a limit of length and of time, whatever the client announces or sends.
pub(super) async fn read_body(body: Body, limits: BodyLimits) -> Result<Vec<u8>, Problem> {
    let BodyLimits { max, timeout } = limits;
    let too_large = || Problem::new(ErrorKind::PayloadTooLarge, format!("a body is at most {max} bytes"));
    // The announced length is reason enough to refuse: then nothing of the body is read.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let late = || format!("the body did not arrive within {timeout:?}");
    let read = tokio::time::timeout(timeout, collect(Limited::new(body, max))).await;
    match read.map_err(|_| Problem::new(ErrorKind::InvalidRequest, late()))? {
        Ok(body) => Ok(body),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Problem::new(ErrorKind::InvalidRequest, "the body is incomplete").because(&*error)),
    }
}

/// Collects a body in one buffer: one that comes byte by byte takes no more memory than any other.
async fn collect(mut body: Limited<Body>) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::Bytes;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body of one frame; `None` never arrives.
    struct OneFrame {
        announced: SizeHint,
        frame: Option<Bytes>,
        sent: bool,
    }

    impl OneFrame {
        fn body(announced: SizeHint, frame: Option<usize>) -> Body {
            Body::new(Self {
                announced,
                frame: frame.map(|length| Bytes::from(vec![b' '; length])),
                sent: false,
            })
        }
    }

    impl HttpBody for OneFrame {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(frame) = self.frame.clone() else {
                return Poll::Pending;
            };
            let frame = (!self.sent).then(|| Ok(Frame::data(frame)));
            self.sent = true;
            Poll::Ready(frame)
        }

        fn size_hint(&self) -> SizeHint {
            self.announced
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limits() {
        let check = async |announced: SizeHint, frame: Option<usize>, timeout: Duration, expect| {
            let read = read_body(OneFrame::body(announced, frame), BodyLimits { max: 64, timeout }).await;
            assert_eq!(read.map(|body| body.len()).map_err(|error| error.kind()), expect);
        };
        let (announced, unannounced) = (SizeHint::with_exact, SizeHint::new);
        let (soon, never) = (Duration::from_millis(1), Duration::MAX);
        check(announced(64), Some(64), never, Ok(64)).await;
        check(unannounced(), Some(64), never, Ok(64)).await;
        check(unannounced(), Some(65), never, Err(ErrorKind::PayloadTooLarge)).await;
        // The announced length alone is too much: no frame ever arrives.
        check(announced(65), None, never, Err(ErrorKind::PayloadTooLarge)).await;
        check(announced(64), None, soon, Err(ErrorKind::InvalidRequest)).await;
        check(unannounced(), None, soon, Err(ErrorKind::InvalidRequest)).await;
    }
}
