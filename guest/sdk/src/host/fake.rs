//! An in-memory host, for native tests.
//!
//! Each thread has its own, so that tests that run at the same time do not meet. `fake::World` is how a test reaches it.

pub(crate) mod locks;
pub(crate) mod names;
pub(crate) mod seen;
pub(crate) mod state;
pub(crate) mod writes;

pub(crate) mod store {
    use super::state::state;
    use crate::bindings::wasi::config::store::Error;

    pub(crate) fn get(key: &str) -> Result<Option<String>, Error> {
        Ok(state().borrow().settings.get(key).cloned())
    }
}
