//! How components are pulled and kept, and within which limits.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

/// How components are pulled and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciConfig {
    /// The directory of those that were pulled.
    pub dir: PathBuf,
    /// What all of them take, in bytes; those that a tenant has stay, even if they take more.
    pub bytes: u64,
    /// A file of authorities that may have signed the certificates of registries, beside those that this machine trusts.
    pub roots: Option<PathBuf>,
    /// How long connecting to a registry may take.
    pub connect_timeout: Duration,
    /// How long a registry may send nothing.
    pub read_timeout: Duration,
    /// How long one pull may take as a whole.
    pub timeout: Duration,
    /// Pulls at once.
    pub pulls: usize,
    /// The file in which `docker login` leaves credentials.
    pub docker_config: PathBuf,
}

impl Default for OciConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("namelock-components"),
            bytes: 256 << 20,
            roots: None,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(120),
            pulls: 4,
            docker_config: docker_config(),
        }
    }
}

/// Where the docker config is: `$DOCKER_CONFIG/config.json`, or else `~/.docker/config.json`.
fn docker_config() -> PathBuf {
    let of_home = || Some(PathBuf::from(env::var_os("HOME")?).join(".docker"));
    let given = env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(of_home);
    given.unwrap_or_else(|| PathBuf::from(".docker")).join("config.json")
}
