//! No host: whoever calls it is told how a native test gets one.

/// Panics, in place of the abort that calling a component's import natively would be.
#[cold]
fn no_host(function: &str) -> ! {
    panic!(
        "`{function}` calls the host, and a native build has none: to test a handler, enable the feature `fake` of \
         namelock-guest under [dev-dependencies] and make a `namelock_guest::fake::World`"
    )
}

pub(crate) mod locks {
    use super::no_host;
    use crate::bindings::namelock::registration::locks::{AcquireError, Lost};

    /// Nobody grants one.
    #[derive(Debug)]
    pub(crate) enum Lease {}

    impl Lease {
        pub(crate) fn name(&self) -> String {
            match *self {}
        }

        pub(crate) fn fencing_token(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn remaining_ms(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn renew(&self) -> Result<(), Lost> {
            match *self {}
        }
    }

    pub(crate) fn acquire(_: &str, _: u32) -> Result<Lease, AcquireError> {
        no_host("acquire")
    }

    pub(crate) fn acquire_all(_: &[String], _: u32) -> Result<Vec<Lease>, AcquireError> {
        no_host("acquire_all")
    }

    pub(crate) fn release(lease: Lease) -> Result<(), Lost> {
        match lease {}
    }
}

pub(crate) mod names {
    use super::{locks::Lease, no_host};
    use crate::bindings::namelock::registration::names::{
        Action, Change, NamesError, Page, Query, Registration, SaveError,
    };

    #[derive(Debug)]
    #[expect(dead_code, reason = "there is no lease to make one with")]
    pub(crate) struct Write<'a> {
        pub(crate) lease: &'a Lease,
        pub(crate) action: Action,
    }

    pub(crate) fn find(_: &str) -> Result<Option<Registration>, NamesError> {
        no_host("find")
    }

    pub(crate) fn list(_: &Query) -> Result<Page, NamesError> {
        no_host("list")
    }

    pub(crate) fn save(
        lease: &Lease,
        _: &str,
        _: Option<u64>,
        _: &[(String, String)],
    ) -> Result<Registration, SaveError> {
        match *lease {}
    }

    pub(crate) fn free(lease: &Lease) -> Result<bool, SaveError> {
        match *lease {}
    }

    pub(crate) fn update(lease: &Lease, _: &Change) -> Result<Option<Registration>, SaveError> {
        match *lease {}
    }

    pub(crate) fn apply(_: &[Write<'_>]) -> Result<Vec<Option<Registration>>, SaveError> {
        no_host("apply")
    }
}

pub(crate) mod store {
    use super::no_host;
    use crate::bindings::wasi::config::store::Error;

    pub(crate) fn get(_: &str) -> Result<Option<String>, Error> {
        no_host("setting")
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn a_native_call_panics_with_the_way_to_mend_it_and_does_not_abort() {
        fn check(function: &str, call: fn()) {
            let panic = panic::catch_unwind(call).unwrap_err();
            let text = panic.downcast_ref::<String>().unwrap();
            assert!(text.starts_with(&format!("`{function}` calls the host")), "{text}");
            assert!(text.contains("enable the feature `fake` of namelock-guest"), "{text}");
        }
        check("acquire", || drop(locks::acquire("ada", 0)));
        check("acquire_all", || drop(locks::acquire_all(&[], 0)));
        check("find", || drop(names::find("ada")));
        check("apply", || drop(names::apply(&[])));
        check("setting", || drop(store::get("wait_ms")));
    }
}
