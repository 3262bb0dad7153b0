//! The ways a call can end, and the ways a component can fail to load.

use std::error::Error;
use std::time::Duration;

use crate::cache::CacheError;

/// The cause of an error, for an operator's log.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What failed underneath, in the call that the handler rejected as `unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The lock service could not grant; it may again after this time, where that is known.
    LockUnavailable(Option<Duration>),
    /// The names database did not answer.
    NamesUnavailable,
    /// A lease was lost, or it is not known whether it still was held.
    LeaseLost,
    /// The call wanted to hold more leases than it may.
    LeaseLimit,
}

/// Why a call has no result. The first five are the handler's own rejections.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// This is not a name to the handler.
    #[error("the handler refuses the name: {0}")]
    Invalid(String),
    /// Somebody has the name.
    #[error("the name is taken")]
    Taken,
    /// Somebody is at work on the name; it may be free after this time.
    #[error("the name is busy for about {} ms", .0.as_millis())]
    Busy(Duration),
    /// The caller may not do this.
    #[error("the handler forbids it: {0}")]
    Forbidden(String),
    /// The handler cannot do it now.
    #[error("the handler cannot do it now: {detail}")]
    Unavailable {
        /// The handler's words.
        detail: String,
        /// What the host saw fail in this call, last.
        cause: Option<Cause>,
    },
    /// The handler broke down.
    #[error("the handler trapped")]
    Trapped(#[source] BoxError),
    /// The handler wanted more memory than it may have.
    #[error("the handler ran out of memory")]
    OutOfMemory(#[source] BoxError),
    /// The handler took too long.
    #[error("the handler took longer than its {limit} of {} ms", .time.as_millis())]
    Deadline {
        /// Which limit.
        limit: &'static str,
        /// What that limit is.
        time: Duration,
    },
    /// A lease that the handler held was lost while it ran: its time was over, or the lock service forgot it.
    #[error("the handler ran until its lease was lost")]
    LeaseLost,
    /// The handler used up something that ends its call.
    #[error("the handler used more {limit} than it may")]
    Limit {
        /// The limit's name in the configuration.
        limit: &'static str,
    },
    /// There are more calls than instances.
    #[error("no instance is free")]
    Overloaded,
    /// The host broke down.
    #[error("the host failed")]
    Internal(#[source] BoxError),
}

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no component, or wasmtime cannot compile it.
    #[error("it cannot be compiled as a WebAssembly component")]
    Compile(#[source] BoxError),
    /// Compiling it takes more than it may.
    #[error("compiling it takes more than {most}, the {limit} of this host")]
    TooMuch {
        /// The limit's key in the configuration.
        limit: &'static str,
        /// What it is set to.
        most: String,
    },
    /// The compiler broke down over it.
    #[error("the compiler ended with {status}: {words}")]
    Crashed {
        /// How it ended.
        status: String,
        /// What it said, cut to its beginning.
        words: String,
    },
    /// The compiler could not be started, or not be spoken with; the component may be good.
    #[error("the compiler could not be run")]
    Compiler(#[source] std::io::Error),
    /// It wants what no component is given.
    #[error("it imports what is not granted: {}", .0.join(", "))]
    NotGranted(Vec<String>),
    /// It imports something in another form than it has, or does not export what it must.
    #[error("it does not fit the world namelock:registration/registrar@0.1.0")]
    World(#[source] BoxError),
}

impl LoadError {
    pub(crate) fn too_much(limit: &'static str, most: String) -> Self {
        Self::TooMuch { limit, most }
    }

    /// Whether the same component would be refused again. Time on the clock and a child that could not be started depend on what
    /// else the machine does.
    pub fn is_final(&self) -> bool {
        match self {
            Self::TooMuch { limit, .. } => *limit != "compiler.wall_time",
            Self::Compile(_) | Self::Crashed { .. } | Self::NotGranted(_) | Self::World(_) => true,
            Self::Compiler(_) => false,
        }
    }
}

/// Why the sandbox cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// wasmtime refused the configuration, or the machine has no room for the instance pool.
    #[error("cannot set up the sandbox; fewer calls (http.calls) need less address space")]
    Engine(#[source] BoxError),
    /// The directory of compiled components cannot be used.
    #[error("cannot keep compiled components")]
    Cache(#[from] CacheError),
    /// The thread that ticks could not be started.
    #[error("cannot start the sandbox's clock")]
    Clock(#[source] std::io::Error),
}

/// A wasmtime error as an ordinary one.
pub(crate) fn boxed(error: wasmtime::Error) -> BoxError {
    error.into_boxed_dyn_error()
}
