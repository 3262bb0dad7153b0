//! What is kept of calls that failed.

use std::path::PathBuf;
use std::time::Duration;

/// Where recordings of failed calls are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordConfig {
    /// The directory; none: nothing is recorded.
    pub dir: Option<PathBuf>,
    /// Whether owners and attributes are kept as they are.
    pub owners: bool,
    /// Longest recording, in bytes: in memory while its call runs, and as a file.
    pub size: usize,
    /// Recordings of a tenant in a second; ten times as many at once after a pause.
    pub rate: u32,
    /// Recordings that are kept of each tenant.
    pub files: usize,
    /// Bytes that these have together.
    pub bytes: u64,
    /// How long a recording is kept.
    pub age: Duration,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            dir: None,
            owners: false,
            size: 256 << 10,
            rate: 1,
            files: 50,
            bytes: 4 << 20,
            age: Duration::from_hours(7 * 24),
        }
    }
}
