//! Why names were not exported or imported.

/// Why a backup was not made, or not put.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The tenant has no names.
    #[error("the names database {url} keeps nothing of the tenant {tenant}; check both")]
    Nothing {
        /// The database.
        url: String,
        /// The tenant.
        tenant: String,
    },
    /// The database did not answer.
    #[error("{done} names were {did} before the database failed; run the same command again")]
    Database {
        /// How many it had done.
        done: u64,
        /// What is done with them.
        did: &'static str,
        /// What it said.
        source: namelock_names::SaveError,
    },
    /// What was exported cannot be read.
    #[error("{file}, line {line}: {problem}{aftermath}")]
    Line {
        /// Where it comes from.
        file: String,
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
        /// What has been done before.
        aftermath: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} {file}{hint}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        file: String,
        /// What the system said.
        source: std::io::Error,
        /// How to mend it.
        hint: &'static str,
    },
    /// A signal came.
    #[error("stopped by a signal; {0}")]
    Stopped(String),
}
