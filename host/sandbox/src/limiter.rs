//! Limits the memory of one call.

use wasmtime::{ResourceLimiter, Result};

/// The memory that one element of a table takes.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Limits the sum of all memories and tables of a call. wasmtime's own `StoreLimits` limits each separately, so that a
/// component with many memories could have many times the limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    used: usize,
    limit: usize,
    /// Whether something was refused. A guest that is refused memory traps like any other (its runtime executes
    /// `unreachable`), and only this tells why.
    pub(crate) denied: bool,
}

impl Limiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            used: 0,
            limit,
            denied: false,
        }
    }

    /// How much the call has; memories and tables never shrink, so it is also the most that it had.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn grow(&mut self, more: usize) -> bool {
        match self.used.checked_add(more).filter(|used| *used <= self.limit) {
            Some(used) => {
                self.used = used;
                true
            }
            None => {
                self.denied = true;
                false
            }
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        // More than one slot of the pool has room for.
        self.denied = true;
        Ok(())
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.denied = true;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Shows P6: a call gets no more memory by having several memories and tables.
    #[test]
    fn all_memories_and_tables_share_one_limit() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.table_growing(0, 4, None).unwrap());
        assert!(!limiter.denied);
        assert!(!limiter.memory_growing(0, 9, None).unwrap());
        assert!(limiter.denied);
        assert!(limiter.memory_growing(60, 68, None).unwrap());
        assert!(!limiter.table_growing(4, usize::MAX, None).unwrap());
    }
}
