//! The ways a call can end, and the ways a component can fail to load.

use std::error::Error;
use std::time::Duration;

use namelock_account::Limit;

use crate::cache::CacheError;
use crate::unfit::Unfit;
use namelock_types::milliseconds;

/// The cause of an error, for an operator's log.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What failed underneath, in the call that the handler rejected as `unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The lock service could not grant. It may be able to again after this time, where that is known.
    LockUnavailable(Option<Duration>),
    /// The names database did not answer.
    NamesUnavailable,
    /// A lease was lost, or it is not known whether it still was held.
    LeaseLost,
    /// The call or its tenant asked for more than it may have. It may ask again after this time, where that is known.
    Limit(Limit, Option<Duration>),
}

/// Why a call has no result. The first six are the handler's own rejections.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The handler does not accept the name.
    #[error("the handler refuses the name: {0}")]
    Invalid(String),
    /// The name has an active registration, or is held for its last owner for this long.
    #[error("the name is taken")]
    Taken(Option<Duration>),
    /// The name is locked by another call; it may be free after this time.
    #[error("the name is busy for about {} ms", milliseconds(*.0))]
    Busy(Duration),
    /// The name has no active registration that could be changed.
    #[error("the name has no active registration")]
    Missing,
    /// The handler does not allow it to this caller.
    #[error("the handler forbids it: {0}")]
    Forbidden(String),
    /// The handler cannot do it now.
    #[error("the handler cannot do it now: {detail}")]
    Unavailable {
        /// The handler's text.
        detail: String,
        /// What last failed underneath in this call.
        cause: Option<Cause>,
    },
    /// Another request that has succeeded had the same key.
    #[error("the key of the request belongs to another request")]
    KeyReused,
    /// The component does not export what the call needs.
    #[error("the component does not export `updates`")]
    Unsupported,
    /// The handler trapped.
    #[error("the handler trapped")]
    Trapped(#[source] BoxError),
    /// The handler asked for more memory than it may have.
    #[error("the handler ran out of memory")]
    OutOfMemory(#[source] BoxError),
    /// The handler took too long.
    #[error("the handler took longer than its {limit} of {} ms", milliseconds(*.time))]
    Deadline {
        /// Which limit.
        limit: &'static str,
        /// What the limit is set to.
        time: Duration,
    },
    /// A lease that the handler held was lost while it ran: its time was over, the lock service forgot it, or
    /// an operator has ended it.
    #[error("a lease of the handler was lost while it ran")]
    LeaseLost,
    /// The handler exceeded a limit that ends its call.
    #[error("the handler used more {limit} than it may")]
    Limit {
        /// The limit's name in the configuration.
        limit: &'static str,
    },
    /// A call that is replayed does something else than was recorded.
    #[error("{0}")]
    Differs(String),
    /// All instances of the pool are in use.
    #[error("no instance is free")]
    Overloaded,
    /// The host failed.
    #[error("the host failed")]
    Internal(#[source] BoxError),
}

impl CallError {
    /// Whether the handler has refused the request.
    pub(crate) fn is_rejection(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_) | Self::Taken(_) | Self::Busy(_) | Self::Missing | Self::Forbidden(_)
        )
    }
}

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not a component, or wasmtime cannot compile it.
    #[error("it cannot be compiled as a WebAssembly component")]
    Compile(#[source] BoxError),
    /// Compiling it exceeds a limit.
    #[error("compiling it takes more than {most}, the {limit} of this host")]
    TooMuch {
        /// The limit's key in the configuration.
        limit: &'static str,
        /// What it is set to.
        most: String,
    },
    /// Compiling it takes longer than a first try may ([`Effort::Short`](crate::compiler::Effort::Short)).
    #[error("compiling it takes longer than a first try may")]
    TakesLong,
    /// The compiler crashed on it.
    #[error("the compiler ended with {status}: {words}")]
    Crashed {
        /// How it ended.
        status: String,
        /// The beginning of its messages.
        words: String,
    },
    /// The compiler could not be started or communicated with; the component may be valid.
    #[error("the compiler could not be run")]
    Compiler(#[source] std::io::Error),
    /// It imports what no component is given, exports no handler, or is larger than a place in the pool.
    #[error("it {}", .0.describe(usize::MAX))]
    Unfit(Unfit),
    /// An import has another type than the host's, or a required export is missing.
    #[error("it does not fit the world namelock:registration/registrar@0.1.1")]
    World(#[source] BoxError),
}

impl LoadError {
    pub(crate) fn too_much(limit: &'static str, most: String) -> Self {
        Self::TooMuch { limit, most }
    }

    /// Tells whether the same component would be refused again. How long compiling takes by the clock and whether a
    /// child can be started depend on what else the machine does.
    pub fn is_final(&self) -> bool {
        match self {
            Self::TooMuch { limit, .. } => *limit != "compiler.wall_time",
            Self::Compile(_) | Self::Crashed { .. } | Self::Unfit(_) | Self::World(_) => true,
            Self::TakesLong | Self::Compiler(_) => false,
        }
    }
}

/// Why the sandbox cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// wasmtime refused the configuration, or the machine has too little address space for the instance pool.
    #[error(
        "cannot set up the sandbox; if there is too little address space, allow this process more (LimitAS, ulimit -v), or lower \
         http.calls or limits.max.memory"
    )]
    Engine(#[source] BoxError),
    /// The directory of compiled components cannot be used.
    #[error("cannot keep compiled components")]
    Cache(#[from] CacheError),
    /// The thread that increments the epoch could not be started.
    #[error("cannot start the thread that interrupts running guests")]
    Clock(#[source] std::io::Error),
}

/// Converts an error of wasmtime into a standard one.
pub(crate) fn boxed(error: wasmtime::Error) -> BoxError {
    error.into_boxed_dyn_error()
}
