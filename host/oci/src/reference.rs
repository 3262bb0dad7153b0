//! Reads where a component is: `oci://registry/repository@sha256:…`.
//!
//! The grammar is that of the OCI distribution specification (1.1, "Pulling manifests"), and nothing beside it: what is read goes
//! into the path of a URL, so it cannot have a segment such as `..`, a user, a query or a fragment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::digest::Digest;

/// What begins every reference.
pub const SCHEME: &str = "oci://";

/// Longest registry with its repository, in bytes; many clients take no more (OCI distribution specification).
const NAME_MAX: usize = 255;

/// Longest tag, in bytes.
const TAG_MAX: usize = 128;

/// Where a component is, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: Registry,
    repository: String,
    digest: Digest,
}

/// A registry: its name or address, and its port where it is not the usual one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Registry {
    /// In small letters; an IPv6 address is in brackets.
    host: String,
    port: Option<u16>,
}

/// Why a text is no reference, and how to write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It is none at all.
    #[error(
        "write oci://registry/repository@sha256:… , as in oci://registry.example/acme/rooms@sha256:… with 64 digits"
    )]
    Scheme,
    /// A tag may be moved, a digest may not.
    #[error(
        "it has no digest; add @sha256: and the 64 digits that `wkg oci push` prints: a tag alone may become another component"
    )]
    NoDigest,
    /// The digest is none.
    #[error("its digest is wrong; after @ comes sha256: with 64 of the digits 0-9 and a-f")]
    Digest,
    /// The registry is none.
    #[error(
        "its registry is neither a name nor an address, with :PORT where it has one; a user or a password stand in the docker config"
    )]
    Registry,
    /// The repository is none.
    #[error(
        "its repository is wrong; it has small letters, digits and single . _ - in between, and / between its parts"
    )]
    Repository,
    /// The tag is none.
    #[error("its tag is wrong; it has letters, digits, . _ and -, and is not needed")]
    Tag,
    /// It is too long.
    #[error("its registry and repository are longer than {NAME_MAX} bytes")]
    TooLong,
}

impl Reference {
    /// The digest of its manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The name or address of its registry, with its port where it has one.
    pub fn registry_name(&self) -> String {
        self.registry.to_string()
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }
}

impl Registry {
    /// Whether it is on this machine, so that nobody on the way can read or change anything.
    // Keeps P7: a secret leaves the machine over TLS or not at all.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Where it is asked. The registry of docker.io has had another name from its beginning.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_loopback() { "http" } else { "https" };
        match (self.host.as_str(), self.port) {
            ("docker.io" | "index.docker.io", None) => "https://registry-1.docker.io".to_owned(),
            _ => format!("{scheme}://{self}"),
        }
    }

    /// What it is called in the docker config.
    pub(crate) fn in_docker_config(&self) -> String {
        match (self.host.as_str(), self.port) {
            ("docker.io" | "index.docker.io" | "registry-1.docker.io", None) => {
                "https://index.docker.io/v1/".to_owned()
            }
            _ => self.to_string(),
        }
    }
}

/// Whether a host of a URL is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidReference::Scheme)?;
        let (registry, path) = rest.split_once('/').ok_or(InvalidReference::Scheme)?;
        let registry: Registry = registry.parse()?;
        let (named, digest) = path.split_once('@').ok_or(InvalidReference::NoDigest)?;
        let digest = digest.parse().map_err(|_| InvalidReference::Digest)?;
        // The digest says which one it is; the tag beside it is for people.
        let repository = match named.split_once(':') {
            Some((_, tag)) if !is_tag(tag) => return Err(InvalidReference::Tag),
            Some((repository, _)) => repository,
            None => named,
        };
        if !repository.split('/').all(is_component) {
            return Err(InvalidReference::Repository);
        }
        if registry.to_string().len() + 1 + repository.len() > NAME_MAX {
            return Err(InvalidReference::TooLong);
        }
        Ok(Self {
            registry,
            repository: repository.to_owned(),
            digest,
        })
    }
}

impl FromStr for Registry {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(InvalidReference::Registry)?;
                let address: Ipv6Addr = address.parse().map_err(|_| InvalidReference::Registry)?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or(InvalidReference::Registry)?),
                };
                (format!("[{address}]"), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (text.to_ascii_lowercase(), None),
            },
        };
        if !host.starts_with('[') && !is_name(&host) {
            return Err(InvalidReference::Registry);
        }
        let port = port.map(|port| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let number = port.parse().ok().filter(|number| digits && *number > 0);
            number.ok_or(InvalidReference::Registry)
        });
        Ok(Self {
            host,
            port: port.transpose()?,
        })
    }
}

/// Whether it is an IPv4 address, or a name of DNS. A name that ends in a number is none: programs differ in whether it is an
/// address, and which.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        label.len() <= 63
            && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let ends_in_a_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    host.parse::<Ipv4Addr>().is_ok() || (host.split('.').all(is_label) && !ends_in_a_number)
}

/// Whether it is one part of a repository: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let ends_are_plain = text.starts_with(is_plain) && text.ends_with(is_plain);
    ends_are_plain && text.split(is_plain).all(is_separator)
}

/// Whether it is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_MAX && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}@{}", self.registry, self.repository, self.digest)
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(named: &str) -> Result<String, InvalidReference> {
        let reference: Reference = format!("oci://{named}@{DIGEST}").parse()?;
        let shown = reference.to_string();
        assert_eq!(shown.parse(), Ok(reference), "{shown}");
        Ok(shown.trim_start_matches(SCHEME).replace(&format!("@{DIGEST}"), ""))
    }

    #[test]
    fn a_registry_a_repository_and_a_digest_are_read() {
        for (named, expect) in [
            ("ghcr.io/acme/rooms", "ghcr.io/acme/rooms"),
            ("Registry.Example:5000/a", "registry.example:5000/a"),
            ("localhost:5000/a/b/c-d--e.f__g_h", "localhost:5000/a/b/c-d--e.f__g_h"),
            ("127.0.0.1:5000/rooms:1.2.3", "127.0.0.1:5000/rooms"),
            ("[::1]:5000/rooms", "[::1]:5000/rooms"),
            ("[2001:DB8::1]/rooms", "[2001:db8::1]/rooms"),
        ] {
            assert_eq!(read(named).as_deref(), Ok(expect), "{named}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        use InvalidReference::{Digest, NoDigest, Registry, Repository, Scheme, Tag, TooLong};
        for (text, expect) in [
            ("", Scheme),
            ("handler.wasm", Scheme),
            ("https://ghcr.io/acme/rooms", Scheme),
            ("oci://ghcr.io", Scheme),
            ("oci://ghcr.io/acme/rooms", NoDigest),
            ("oci://ghcr.io/acme/rooms:latest", NoDigest),
            ("oci://ghcr.io/acme/rooms@latest", Digest),
            ("oci://ghcr.io/acme/rooms@sha256:00", Digest),
            ("oci://ghcr.io/acme/rooms@sha512:00", Digest),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(expect), "{text}");
        }
        for (named, expect) in [
            ("user:password@ghcr.io/a", Registry),
            ("/a", Registry),
            ("ghcr.io:0/a", Registry),
            ("ghcr.io:+80/a", Registry),
            ("ghcr.io:65536/a", Registry),
            ("ghcr..io/a", Registry),
            ("-a.io/a", Registry),
            ("127.1/a", Registry),
            ("0x7f.0.0.0x1/a", Registry),
            ("2130706433/a", Registry),
            ("[::1/a", Registry),
            ("[fe80::1%25eth0]/a", Registry),
            ("[::1]5000/a", Registry),
            ("gh cr.io/a", Registry),
            ("ghcr.io/", Repository),
            ("ghcr.io//a", Repository),
            ("ghcr.io/a/", Repository),
            ("ghcr.io/a/../b", Repository),
            ("ghcr.io/a/./b", Repository),
            ("ghcr.io/A", Repository),
            ("ghcr.io/a..b", Repository),
            ("ghcr.io/a___b", Repository),
            ("ghcr.io/a-", Repository),
            ("ghcr.io/a%2fb", Repository),
            ("ghcr.io/a?x=y", Repository),
            ("ghcr.io/a#b", Repository),
            ("ghcr.io/a\r\nb", Repository),
            ("ghcr.io/é", Repository),
            ("ghcr.io/a:", Tag),
            ("ghcr.io/a:.b", Tag),
            ("ghcr.io/a:b/c", Tag),
            ("ghcr.io/a:b:c", Tag),
        ] {
            assert_eq!(read(named), Err(expect), "{named}");
        }
        assert_eq!(read(&format!("ghcr.io/{}", "a".repeat(248))), Err(TooLong));
        // What is behind the first @ is the digest, whatever is in it.
        assert_eq!(
            format!("oci://ghcr.io/a@{DIGEST}@{DIGEST}").parse::<Reference>(),
            Err(Digest)
        );
    }

    // Shows P7: only this machine is asked without TLS.
    #[test]
    fn plain_http_is_for_this_machine_alone() {
        let origin = |text: &str| text.parse::<super::Registry>().unwrap().origin();
        for near in ["127.0.0.1:5000", "127.8.9.1", "[::1]:5000", "localhost:5000"] {
            assert_eq!(origin(near), format!("http://{near}"));
        }
        for far in [
            "10.0.0.1:5000",
            "[::ffff:127.0.0.1]:5000",
            "localhost.example",
            "registry:5000",
        ] {
            assert_eq!(origin(far), format!("https://{far}"));
        }
        assert_eq!(origin("docker.io"), "https://registry-1.docker.io");
    }

    proptest! {
        // Shows P7: whatever is written, what is asked is a path below the registry.
        #[test]
        fn no_text_leads_out_of_its_repository(named in "[a-z0-9./:@_%?#\\-\\[\\]]{0,40}") {
            if let Ok(reference) = format!("oci://{named}@{DIGEST}").parse::<Reference>() {
                let url = format!("{}/v2/{}/manifests/", reference.registry().origin(), reference.repository());
                let uri: hyper::Uri = url.parse().unwrap();
                prop_assert!(uri.query().is_none() && !uri.path().contains("..") && !uri.path().contains("//"));
                prop_assert!(!uri.authority().unwrap().as_str().contains('@'));
            }
        }
    }
}
