//! Which requests are traced, and where their spans are sent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;

/// Where spans are sent, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// The collector; none: nothing is traced.
    pub otlp: Option<OtlpUrl>,
    /// Of the requests without a trace of their caller's one in so many is traced; 0: none.
    pub one_in: u32,
    /// Traces that callers ask for in a second, and as many that the host begins.
    pub rate: u32,
    /// Traces that wait to be sent.
    pub queue: usize,
    /// How long traces are collected that are sent together.
    pub every: Duration,
    /// How long the collector may take.
    pub timeout: Duration,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            otlp: None,
            one_in: 100,
            rate: 50,
            queue: 1000,
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }
}

/// The address to which a collector has spans sent, in OTLP over HTTP. It has nothing secret in it, so it may be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpUrl(Uri);

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write http://host:port or https://host:port, without a user and without a query; /v1/traces is added where there is no path"
)]
pub struct InvalidOtlpUrl;

impl OtlpUrl {
    /// The address, with its path.
    pub fn uri(&self) -> &Uri {
        let Self(uri) = self;
        uri
    }

    /// Whether it is sent over TLS.
    pub fn is_tls(&self) -> bool {
        self.uri().scheme_str() == Some("https")
    }
}

impl FromStr for OtlpUrl {
    type Err = InvalidOtlpUrl;

    fn from_str(text: &str) -> Result<Self, InvalidOtlpUrl> {
        let mut parts = text.parse::<Uri>().map_err(|_| InvalidOtlpUrl)?.into_parts();
        let is_http = matches!(
            parts.scheme.as_ref().map(|scheme| scheme.as_str()),
            Some("http" | "https")
        );
        let authority = parts.authority.as_ref().ok_or(InvalidOtlpUrl)?;
        let given = parts.path_and_query.as_ref();
        let has_query = given.is_some_and(|given| given.query().is_some());
        // What is secret would be in a file that is shown, and in the log.
        if !is_http
            || authority.host().is_empty()
            || authority.as_str().contains('@')
            || has_query
            || text.contains('#')
        {
            return Err(InvalidOtlpUrl);
        }
        if given.is_none_or(|given| given.path() == "/") {
            parts.path_and_query = Some("/v1/traces".parse().map_err(|_| InvalidOtlpUrl)?);
        }
        Uri::from_parts(parts).map(Self).map_err(|_| InvalidOtlpUrl)
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_collector_has_a_path() {
        let read = |text: &str| text.parse::<OtlpUrl>().map(|url| url.to_string());
        for (text, expect) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://[::1]:4318/otlp/v1/traces", "https://[::1]:4318/otlp/v1/traces"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expect));
        }
        assert!(!"http://a".parse::<OtlpUrl>().unwrap().is_tls());
        assert!("https://a".parse::<OtlpUrl>().unwrap().is_tls());
        for wrong in [
            "",
            "collector:4318",
            "/v1/traces",
            "grpc://collector:4317",
            "http://",
            "http://key@collector",
            "http://user:password@collector",
            "http://collector?key=secret",
            "http://collector/#part",
        ] {
            assert_eq!(read(wrong), Err(InvalidOtlpUrl), "{wrong}");
        }
    }
}
