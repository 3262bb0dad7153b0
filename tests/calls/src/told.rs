//! What the program says of a component, one line of JSON each. `namelock-bench` has this very file as a module.

use serde::{Deserialize, Serialize};

/// The first line of a program that is to call a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstAnswers {
    /// From the file of the component to its first answer, in milliseconds, if nothing has been compiled before.
    pub compiled_ms: f64,
    /// The same where the compiled component is in the cache. None: there is no cache.
    pub kept_ms: Option<f64>,
}

/// The memory of calls that are held in their middle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// How many there were at once.
    pub calls: usize,
    /// What is resident of the memory of the guest, in KiB for each call.
    pub own_kib: f64,
    /// What else the process has more, with its page tables, in KiB for each call.
    pub above_kib: f64,
}
