//! Opens its standard output again and again, and closes none of them.

use namelock_guest::{Registration, Rejection, Request};

namelock_test_guests::guest!(register);

fn register(_: Request) -> Result<Registration, Rejection> {
    loop {
        open();
    }
}

#[cfg(target_arch = "wasm32")]
fn open() {
    #[link(wasm_import_module = "wasi:cli/stdout@0.2.0")]
    unsafe extern "C" {
        #[link_name = "get-stdout"]
        fn get_stdout() -> i32;
    }
    // SAFETY: it takes nothing and returns a handle, as its WIT says.
    unsafe { get_stdout() };
}

#[cfg(not(target_arch = "wasm32"))]
fn open() {}
