//! The sections of the host's file.

/// The sections of the file and what each is about, in the order of the documents.
pub(super) const SECTIONS: [(&str, &str); 14] = [
    (
        "http",
        "The public listener, and the limits of what comes in through it",
    ),
    (
        "admin",
        "The admin listener, which shows what the host does, and steers it",
    ),
    ("lock", "The lock service"),
    ("names", "The names database"),
    (
        "limits",
        "What each tenant may use, unless its tenant.toml says otherwise",
    ),
    (
        MAX,
        "The highest that a tenant.toml may set; what is left out here cannot be raised",
    ),
    (
        "compiler",
        "The processes that compile components, one for each component",
    ),
    ("tenants", "The directory of tenants"),
    (
        "oci",
        "The registries from which components are pulled that a tenant.toml names, and where they are kept",
    ),
    (
        "versions",
        "The versions of components that were served, so that one command serves them again",
    ),
    (
        "record",
        "Recordings of calls that failed, of tenants whose tenant.toml asks for them",
    ),
    (
        "trace",
        "Traces, which are sent to a collector in OTLP; off unless trace.otlp is set",
    ),
    ("log", "The log, on standard error"),
    ("metrics", "What /metrics tells of tenants"),
];

/// The section that has the same keys as that of a tenant.
pub(super) const MAX: &str = "limits.max";
