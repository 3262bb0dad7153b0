//! Implements the interface `wasi:config/store`: the tenant's settings.

use wasmtime::Result;
use wasmtime::component::{HasData, Linker};

use crate::config::Settings;
use crate::wit::bindings::wasi::config::store::{self, Error, Host};

/// The settings of a tenant.
pub(crate) struct SettingsView<'a>(pub(crate) &'a Settings);

struct HasSettings;

impl HasData for HasSettings {
    type Data<'a> = SettingsView<'a>;
}

/// Adds the interface to a linker; `view` gets what it needs from the data of a store.
pub(crate) fn add_to_linker<T>(linker: &mut Linker<T>, view: fn(&mut T) -> SettingsView<'_>) -> Result<()> {
    store::add_to_linker::<T, HasSettings>(linker, view)
}

impl Host for SettingsView<'_> {
    fn get(&mut self, key: String) -> Result<Result<Option<String>, Error>> {
        Ok(Ok(self.0.get(&key)))
    }

    fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, Error>> {
        Ok(Ok(self.0.get_all()))
    }
}
