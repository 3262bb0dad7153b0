//! What is shipped beside the binary: the unit of systemd, the image and the manifest for Kubernetes. Judged by their own tools, and
//! compared with what the host does.

mod archive;
mod container;
mod unit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use namelock::config::{Config, ServeFlags};

/// How long a host takes at most after `http.lame_duck` and `http.drain`: five seconds for leases, and five for the database.
const CLOSE: Duration = Duration::from_secs(10);

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a host makes of this file, with these variables of its environment.
fn config(file: &Path, env: &[(&str, &str)]) -> Config {
    let flags = ServeFlags {
        config: Some(file.into()),
        ..ServeFlags::default()
    };
    let found = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    Config::load(&flags, &found).unwrap()
}
