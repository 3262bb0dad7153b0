//! A turnstile: of those who ask for a name, one at a time gets through.
//!
//! A component of the world `wasi:http/proxy`, as any host of WASI runs it, that imports the lock on a name beside it. `POST /NAME`
//! takes the lock on `NAME` for as long as its body lasts: 200 with the fencing token as soon as it has it, 423 at once if
//! somebody else does.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

use self::bindings::namelock::registration::locks::{AcquireError, acquire};

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package namelock:turnstile;
            world turnstile {
                import namelock:registration/locks@0.1.1;
            }
        ",
        path: "wit",
        generate_all,
    });
}

/// The most of a body that is read at once.
const CHUNK: u64 = 4096;

struct Turnstile;

impl wasip2::exports::http::incoming_handler::Guest for Turnstile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match acquire(path.trim_start_matches('/'), 0) {
            Ok(lease) => {
                let answer = begin(out, 200, &format!("{}\n", lease.fencing_token()));
                read_to_end(&request);
                // Whoever sees the end of the answer finds the name free.
                drop(lease);
                end(answer);
            }
            Err(AcquireError::Busy(ms)) => end(begin(out, 423, &format!("busy for about {ms} ms\n"))),
            Err(AcquireError::InvalidName(why)) => end(begin(out, 400, &format!("{why}\n"))),
            Err(AcquireError::Limit(why) | AcquireError::Unavailable(why)) => {
                end(begin(out, 503, &format!("{why}\n")));
            }
        }
    }
}

/// Begins an answer with this text.
fn begin(out: ResponseOutparam, status: u16, text: &str) -> OutgoingBody {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("it is a status");
    let body = response.body().expect("nobody has it yet");
    ResponseOutparam::set(out, Ok(response));
    // A caller that has hung up hears nothing.
    if let Ok(stream) = body.write() {
        let _ = stream.blocking_write_and_flush(text.as_bytes());
    }
    body
}

fn end(answer: OutgoingBody) {
    let _ = OutgoingBody::finish(answer, None);
}

/// Waits until the caller has sent all of its request, or hung up.
fn read_to_end(request: &IncomingRequest) {
    let Ok(body) = request.consume() else { return };
    let Ok(stream) = body.stream() else { return };
    while !matches!(
        stream.blocking_read(CHUNK),
        Err(StreamError::Closed | StreamError::LastOperationFailed(_))
    ) {}
}

wasip2::http::proxy::export!(Turnstile);
