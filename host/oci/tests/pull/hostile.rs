//! A registry that lies, stalls, floods, or leads elsewhere, gets nowhere. Each of its faults is one answer.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use namelock_oci::{Digest, OciConfig, Outcome, PullError};

use super::liar::{Liar, manifest, send};
use super::{config, pull};

const COMPONENT: &[u8] = b"one";

/// What a liar does in place of one answer; none: it answers as it should.
type Lie = dyn Fn(&str, &mut TcpStream) -> Option<std::io::Result<()>> + Send + Sync;

fn liar(lie: impl Fn(&str, &mut TcpStream) -> Option<std::io::Result<()>> + Send + Sync + 'static) -> Liar {
    let lie: Box<Lie> = Box::new(lie);
    Liar::start(move |head, stream| match lie(head, stream) {
        Some(done) => done,
        None if head.contains("/manifests/") => send(stream, "200 OK", "", manifest(COMPONENT).as_bytes()),
        None => send(stream, "200 OK", "", COMPONENT),
    })
}

fn reference(liar: &Liar) -> String {
    let digest = Digest::of(manifest(COMPONENT).as_bytes());
    format!("oci://{}/acme/rooms@{digest}", liar.address())
}

fn outcome(liar: &Liar, change: impl Fn(&mut OciConfig)) -> Result<usize, PullError> {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    fs::write(&config.docker_config, "{}").unwrap();
    change(&mut config);
    pull(&config, &reference(liar)).map(|pulled| pulled.bytes())
}

/// Why a pull fails from a registry that does this when it is asked for what has this in its path.
fn refused(
    part: &'static str,
    lie: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> PullError {
    let liar = liar(move |head, stream| head.contains(part).then(|| lie(stream)));
    outcome(&liar, |_| {}).unwrap_err()
}

#[test]
fn a_registry_that_does_not_lie_is_believed() {
    assert_eq!(outcome(&liar(|_, _| None), |_| {}).unwrap(), COMPONENT.len());
    // In chunks, and without any length.
    let chunks = liar(|head, stream| {
        head.contains("/blobs/").then(|| {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\non\r\n1;x=y\r\ne\r\n0\r\nx: y\r\n\r\n",
            )
        })
    });
    assert_eq!(outcome(&chunks, |_| {}).unwrap(), COMPONENT.len());
    let until_closed = liar(|head, stream| {
        head.contains("/blobs/").then(|| {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\none")?;
            stream.shutdown(std::net::Shutdown::Write)
        })
    });
    assert_eq!(outcome(&until_closed, |_| {}).unwrap(), COMPONENT.len());
}

// Shows P7: what has not the digest that was asked for is not used.
#[test]
fn what_has_another_digest_is_refused() {
    let other = refused("/manifests/", |stream| {
        send(stream, "200 OK", "", manifest(b"two").as_bytes())
    });
    assert!(matches!(other, PullError::Digest { what: "manifest", .. }), "{other}");
    let other = refused("/blobs/", |stream| send(stream, "200 OK", "", b"two"));
    assert!(matches!(other, PullError::Digest { what: "component", .. }), "{other}");
    assert_eq!(other.outcome(), Outcome::Refused);
    // What says that it is packed is not unpacked.
    let packed = refused("/blobs/", |stream| {
        send(stream, "200 OK", "content-encoding: gzip\r\n", b"\x1f\x8b\x08")
    });
    assert!(matches!(packed, PullError::Digest { .. }), "{packed}");
}

#[test]
fn what_has_another_length_is_refused() {
    for (body, found) in [(&b"one more"[..], "more"), (b"on", "fewer"), (b"", "fewer")] {
        let wrong = refused("/blobs/", move |stream| send(stream, "200 OK", "", body));
        assert!(
            matches!(wrong, PullError::Length { found: said, .. } if said == found),
            "{wrong}"
        );
    }
    let partial = refused("/blobs/", |stream| send(stream, "206 Partial Content", "", COMPONENT));
    assert!(matches!(partial, PullError::Status { status: 206, .. }), "{partial}");
}

// Shows P6: nothing of any length is read.
#[test]
fn what_does_not_end_is_not_read_to_the_end() {
    let endless = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 4096])?;
        }
    };
    let manifest = refused("/manifests/", endless);
    assert!(
        matches!(manifest, PullError::TooLong { what: "manifest", .. }),
        "{manifest}"
    );
    let component = refused("/blobs/", endless);
    assert!(
        matches!(component, PullError::Length { found: "more", .. }),
        "{component}"
    );
    let said = refused("/manifests/", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n")
    });
    assert!(
        matches!(said, PullError::TooLong { .. } | PullError::Unreached { .. }),
        "{said}"
    );
    let head = refused("/manifests/", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")?;
        }
    });
    assert!(matches!(head, PullError::Unreached { .. }), "{head}");
    // What a refusal says is not read at all.
    let error = refused("/manifests/", move |stream| {
        stream.write_all(b"HTTP/1.1 500 Oops\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 4096])?;
        }
    });
    assert!(matches!(error, PullError::Status { status: 500, .. }), "{error}");
}

#[test]
fn what_breaks_off_is_refused() {
    let cut = refused("/blobs/", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\non")
    });
    assert!(matches!(cut, PullError::Cut { .. }), "{cut}");
    let cut = refused("/manifests/", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n{")
    });
    assert!(matches!(cut, PullError::Cut { .. }), "{cut}");
    for none in [
        &b""[..],
        b"HTTP/1.1",
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\none",
    ] {
        let cut = refused("/manifests/", move |stream| stream.write_all(none));
        assert!(matches!(cut, PullError::Unreached { .. }), "{cut}");
        assert_eq!(cut.outcome(), Outcome::Unreachable);
    }
}

// Shows P6: whoever is slow is waited for no longer than a limit.
#[test]
fn what_stalls_or_drips_has_an_end() {
    let short = Duration::from_millis(200);
    let wait = || loop {
        std::thread::park();
    };
    let silent = liar(move |_, _| Some(wait()));
    let refused = outcome(&silent, |config| {
        (config.connect_timeout, config.read_timeout) = (short, short)
    })
    .unwrap_err();
    assert!(matches!(refused, PullError::Silent { .. }), "{refused}");
    let stalls = liar(move |head, stream| {
        head.contains("/blobs/").then(|| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\no")?;
            wait()
        })
    });
    let refused = outcome(&stalls, |config| config.read_timeout = short).unwrap_err();
    assert!(matches!(refused, PullError::Silent { .. }), "{refused}");
    // Never silent for long, and never done.
    let drips = liar(move |head, stream| {
        head.contains("/manifests/").then(|| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    });
    let refused = outcome(&drips, |config| config.timeout = 5 * short).unwrap_err();
    assert!(matches!(refused, PullError::TakesLong(_)), "{refused}");
    let dripping_head = liar(move |_, stream| {
        Some((|| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            loop {
                stream.write_all(b"y")?;
                std::thread::sleep(Duration::from_millis(5));
            }
        })())
    });
    let refused = outcome(&dripping_head, |config| {
        (config.connect_timeout, config.read_timeout) = (short, short)
    });
    assert!(matches!(refused, Err(PullError::Silent { .. })), "{refused:?}");
}

#[test]
fn a_layer_may_be_elsewhere_and_a_manifest_may_not() {
    let elsewhere = liar(|_, _| None);
    let leads = format!("location: http://{}/blobs/x\r\n", elsewhere.address());
    let redirects = {
        let leads = leads.clone();
        liar(move |head, stream| {
            head.contains("/blobs/")
                .then(|| send(stream, "307 Temporary Redirect", &leads, b""))
        })
    };
    assert_eq!(outcome(&redirects, |_| {}).unwrap(), COMPONENT.len());
    let manifest = refused("/manifests/", move |stream| send(stream, "302 Found", &leads, b""));
    assert!(
        matches!(manifest, PullError::Redirect { what: "manifest", .. }),
        "{manifest}"
    );
    // Nobody else gives what has another digest.
    let wrong = liar(|_, stream| Some(send(stream, "200 OK", "", b"two")));
    let leads = format!("location: http://{}/x\r\n", wrong.address());
    let other = refused("/blobs/", move |stream| {
        send(stream, "307 Temporary Redirect", &leads, b"")
    });
    assert!(matches!(other, PullError::Digest { .. }), "{other}");
}

#[test]
fn a_redirect_that_does_not_end_or_leaves_the_machine_is_not_followed() {
    let turns = liar(|head, stream| {
        head.contains("/blobs/")
            .then(|| send(stream, "307 Temporary Redirect", "location: /v2/blobs/again\r\n", b""))
    });
    let refused_to_turn = outcome(&turns, |_| {}).unwrap_err();
    assert!(
        matches!(refused_to_turn, PullError::Redirect { .. }),
        "{refused_to_turn}"
    );
    assert_eq!(turns.heads().len(), 1 + 4, "one manifest, one layer, three redirects");
    for location in [
        "http://10.0.0.1/x",
        "http://registry.example/x",
        "file:///etc/passwd",
        "http://a@localhost/x",
    ] {
        let leads = format!("location: {location}\r\n");
        let error = refused("/blobs/", move |stream| {
            send(stream, "301 Moved Permanently", &leads, b"")
        });
        assert!(matches!(error, PullError::Redirect { .. }), "{location}: {error}");
    }
    let error = refused("/blobs/", |stream| send(stream, "300 Multiple Choices", "", b""));
    assert!(matches!(error, PullError::Redirect { .. }), "{error}");
}

/// A docker config with a password for this registry.
fn with_password(config: &OciConfig, liar: &Liar) {
    let text = format!(r#"{{"auths":{{"{}":{{"auth":"YW5uOnNlY3JldA=="}}}}}}"#, liar.address());
    fs::write(&config.docker_config, text).unwrap();
}

const BASIC: &str = "authorization: Basic YW5uOnNlY3JldA==";

// Shows P7: credentials go to the registry that they are for, and nowhere else.
#[test]
fn credentials_do_not_follow_a_redirect() {
    let elsewhere = liar(|_, _| None);
    let leads = format!("location: http://{}/blobs/x\r\n", elsewhere.address());
    let registry = liar(move |head, stream| {
        if !head.contains(BASIC) {
            return Some(send(
                stream,
                "401 Unauthorized",
                "www-authenticate: Basic realm=\"x\"\r\n",
                b"",
            ));
        }
        head.contains("/blobs/")
            .then(|| send(stream, "307 Temporary Redirect", &leads, b""))
    });
    assert_eq!(
        outcome(&registry, |config| with_password(config, &registry)).unwrap(),
        COMPONENT.len()
    );
    let heads = registry.heads();
    let shown: Vec<_> = heads.iter().map(|head| head.contains(BASIC)).collect();
    assert_eq!(shown, [false, true, true], "only when they are asked for");
    let heads = elsewhere.heads();
    assert!(heads.len() == 1 && !heads[0].contains("authorization"), "{heads:?}");
    // Who it leads to cannot ask for them.
    let asks = liar(|_, stream| {
        Some(send(
            stream,
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            b"",
        ))
    });
    let leads = format!("location: http://{}/x\r\n", asks.address());
    let registry = liar(move |head, stream| {
        head.contains("/blobs/")
            .then(|| send(stream, "307 Temporary Redirect", &leads, b""))
    });
    let refused = outcome(&registry, |config| with_password(config, &registry)).unwrap_err();
    assert!(matches!(refused, PullError::Denied { .. }), "{refused}");
    assert_eq!(asks.heads().len(), 1);
}

#[test]
fn a_token_is_had_from_the_server_that_the_registry_names() {
    let tokens = liar(|head, stream| {
        let asked = head.starts_with("GET /token?x=y&scope=repository%3Aacme%2Frooms%3Apull&service=the%20registry ");
        Some(match asked && head.contains(BASIC) {
            true => send(stream, "200 OK", "", br#"{"access_token":"abc","expires_in":60}"#),
            false => send(stream, "403 Forbidden", "", b""),
        })
    });
    let challenge = format!(
        "www-authenticate: Bearer realm=\"http://{}/token?x=y\",service=\"the registry\",scope=\"repository:all:*\"\r\n",
        tokens.address()
    );
    let registry = liar(move |head, stream| {
        (!head.contains("authorization: Bearer abc\r\n")).then(|| send(stream, "401 Unauthorized", &challenge, b""))
    });
    assert_eq!(
        outcome(&registry, |config| with_password(config, &registry)).unwrap(),
        COMPONENT.len()
    );
    let refused = outcome(&registry, |_| {}).unwrap_err();
    assert!(matches!(refused, PullError::NoCredentials { .. }), "{refused}");
    assert!(
        registry.heads().iter().all(|head| !head.contains(BASIC)),
        "the password is for the token server"
    );
    // An identity token is exchanged, and not shown to the registry.
    let identity = |config: &mut OciConfig| {
        let text = format!(r#"{{"auths":{{"{}":{{"identitytoken":"idt"}}}}}}"#, registry.address());
        fs::write(&config.docker_config, text).unwrap();
    };
    let refused = outcome(&registry, identity).unwrap_err();
    assert!(matches!(refused, PullError::Denied { .. }), "{refused}");
    let heads = tokens.heads();
    let last = heads.last().unwrap();
    assert!(
        last.starts_with("POST /token?x=y ") && !last.contains("authorization"),
        "{last}"
    );
}

#[test]
fn a_strange_challenge_or_token_is_refused() {
    for challenge in [
        "Bearer realm=\"http://10.0.0.1/token\"",
        "Bearer realm=\"http://registry.example/\"",
        "Bearer realm=\"https://a:b@registry.example/\"",
        "Bearer realm=\"\"",
        "Digest realm=\"x\", nonce=\"y\"",
        "\u{1}",
        "",
    ] {
        let header = format!("www-authenticate: {challenge}\r\n");
        let registry = liar(move |_, stream| Some(send(stream, "401 Unauthorized", &header, b"")));
        let refused = outcome(&registry, |config| with_password(config, &registry)).unwrap_err();
        let known = matches!(refused, PullError::Challenge { .. } | PullError::Unreached { .. });
        assert!(known, "{challenge}: {refused}");
        assert_eq!(registry.heads().len(), 1);
    }
    for token in [
        &b"{}"[..],
        b"[]",
        b"{\"token\":\"\"}",
        b"{\"token\":\"a\\r\\nhost: b\"}",
        b"{\"token\":7}",
        &[b' '; 70_000],
    ] {
        let tokens = liar(move |_, stream| Some(send(stream, "200 OK", "", token)));
        let header = format!("www-authenticate: Bearer realm=\"http://{}/\"\r\n", tokens.address());
        let registry = liar(move |_, stream| Some(send(stream, "401 Unauthorized", &header, b"")));
        let refused = outcome(&registry, |_| {}).unwrap_err();
        assert!(
            matches!(refused, PullError::Challenge { .. } | PullError::TooLong { .. }),
            "{refused}"
        );
    }
    // One that asks again and again is answered once.
    let registry = liar(|_, stream| {
        Some(send(
            stream,
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            b"",
        ))
    });
    let refused = outcome(&registry, |config| with_password(config, &registry)).unwrap_err();
    assert!(matches!(refused, PullError::Denied { .. }), "{refused}");
    assert_eq!(registry.heads().len(), 2);
    let said = format!("{refused} {refused:?}");
    assert!(!said.contains("secret") && !said.contains("YW5u"), "{said}");
}
