//! What a component may import, and nothing more.
//!
//! Of WASI these are the interfaces that language runtimes need to start. `wasi:filesystem` is one of them because
//! wasi-libc asks for it on its way to `main`; there is no file or folder behind it. `wasi:sockets` is another, because
//! componentize-py imports all of it for every handler; each of its functions that would make a socket or look up a
//! name answers with an error. No HTTP.

use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Engine, Result};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

use crate::state::State;
use crate::unfit::Unfit;
use crate::wit::{settings, taped_locks, taped_names};

/// The interfaces that a component may import. Every version of the same line is granted: 0.2.x for WASI.
const GRANTED: &[&str] = &[
    "namelock:registration/locks@0.1",
    "namelock:registration/names@0.1",
    "wasi:config/store@0.2",
    "wasi:io/error@0.2",
    "wasi:io/poll@0.2",
    "wasi:io/streams@0.2",
    "wasi:clocks/monotonic-clock@0.2",
    "wasi:clocks/wall-clock@0.2",
    "wasi:random/random@0.2",
    "wasi:random/insecure@0.2",
    "wasi:random/insecure-seed@0.2",
    "wasi:cli/environment@0.2",
    "wasi:cli/exit@0.2",
    "wasi:cli/stdin@0.2",
    "wasi:cli/stdout@0.2",
    "wasi:cli/stderr@0.2",
    "wasi:cli/terminal-input@0.2",
    "wasi:cli/terminal-output@0.2",
    "wasi:cli/terminal-stdin@0.2",
    "wasi:cli/terminal-stdout@0.2",
    "wasi:cli/terminal-stderr@0.2",
    "wasi:filesystem/types@0.2",
    "wasi:filesystem/preopens@0.2",
    "wasi:sockets/instance-network@0.2",
    "wasi:sockets/ip-name-lookup@0.2",
    "wasi:sockets/network@0.2",
    "wasi:sockets/tcp@0.2",
    "wasi:sockets/tcp-create-socket@0.2",
    "wasi:sockets/udp@0.2",
    "wasi:sockets/udp-create-socket@0.2",
];

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = &'a mut ResourceTable;
}

/// Makes a linker with everything that components may import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    taped_locks::add_to_linker(l, State::locks)?;
    taped_names::add_to_linker(l, State::names)?;
    settings::add_to_linker(l, State::settings)?;
    io::error::add_to_linker::<State, HasIo>(l, State::table)?;
    io::poll::add_to_linker::<State, HasIo>(l, State::table)?;
    io::streams::add_to_linker::<State, HasIo>(l, State::table)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(l, State::random)?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, State::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, State::random)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    // What they may use is decided by the data of a store, which allows nothing.
    sockets::instance_network::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::network::add_to_linker::<State, WasiSockets>(
        l,
        &sockets::network::LinkOptions::default(),
        State::sockets,
    )?;
    sockets::tcp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::udp::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    Ok(linker)
}

/// Lists the imports of a component that are not granted.
pub(crate) fn not_granted(engine: &Engine, component: &Component) -> Unfit {
    let mut unfit = Unfit::default();
    for (import, _) in component.component_type().imports(engine) {
        if !is_granted(import) {
            unfit.import(import);
        }
    }
    unfit
}

pub(crate) fn is_granted(import: &str) -> bool {
    GRANTED.iter().any(|granted| {
        let rest = import.strip_prefix(granted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_on_the_list_are_granted() {
        for import in [
            "wasi:io/poll@0.2.6",
            "wasi:config/store@0.2.0-rc.1",
            "wasi:sockets/tcp-create-socket@0.2.9",
            "namelock:registration/locks@0.1.0",
        ] {
            assert!(is_granted(import), "{import}");
        }
        for import in [
            "wasi:sockets/types@0.3.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.20.0",
            "wasi:io/poll",
            "evil:io/poll@0.2.6",
            "namelock:registration/locks@0.10.0",
            "a-function",
        ] {
            assert!(!is_granted(import), "{import}");
        }
    }
}
