//! Calls in an instance that is called again and again, with plain wasmtime.
//!
//! - `bindings`: the WIT as Rust; `state`: what an instance imports.
//!
//! The machine code is as that of the sandbox: it checks its memory and asks whether it is to end. Of the sandbox's limits there is
//! but the one of a memory, there is no account, and what one call leaves the next one finds. An instance that has trapped is made
//! anew, as other hosts do it.

mod bindings;
mod state;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use namelock_lock::Locks;
use namelock_sandbox::SandboxConfig;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

use self::bindings::exports::namelock::registration::handler::Request;
use self::bindings::{Registrar, RegistrarPre};
use self::state::State;
use crate::fresh::ms;
use crate::stage::{self, OWNER};
use crate::told::FirstAnswers;

/// How much more stack the host's functions have than the guest, as in the sandbox.
const HOST_STACK_BYTES: usize = 256 << 10;

/// A component, of which instances can be made. Clones share it.
#[derive(Clone)]
pub struct Reused {
    pre: RegistrarPre<State>,
    locks: Locks,
}

/// An instance.
pub struct Instance {
    of: Reused,
    store: Store<State>,
    registrar: Registrar,
    /// How often it has been called since it was made.
    calls: u64,
    /// How often it was made anew.
    renewed: u64,
}

impl Reused {
    /// Compiles a component, and tells how long it takes until it has answered.
    ///
    /// # Errors
    ///
    /// It cannot be compiled, or answers wrongly.
    pub async fn first_answer(component: &Path) -> anyhow::Result<(Self, FirstAnswers)> {
        let engine = engine().map_err(told)?;
        let begin = Instant::now();
        let this = Self {
            pre: load(&engine, component).map_err(told)?,
            locks: stage::locks()?,
        };
        this.instance().await?.call("the first").await?;
        let first = FirstAnswers {
            compiled_ms: ms(begin.elapsed()),
            kept_ms: None,
        };
        Ok((this, first))
    }

    /// Makes an instance.
    ///
    /// # Errors
    ///
    /// It traps at its start.
    pub async fn instance(&self) -> anyhow::Result<Instance> {
        let (store, registrar) = self.instantiate().await.map_err(told)?;
        Ok(Instance {
            of: self.clone(),
            store,
            registrar,
            calls: 0,
            renewed: 0,
        })
    }

    async fn instantiate(&self) -> wasmtime::Result<(Store<State>, Registrar)> {
        let state = State::new(&self.locks, SandboxConfig::default().memory_max);
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        // Nothing ticks.
        store.set_epoch_deadline(1);
        let registrar = self.pre.instantiate_async(&mut store).await?;
        Ok((store, registrar))
    }
}

impl Instance {
    /// Registers a name. An instance that traps is made anew, and called once more.
    ///
    /// # Errors
    ///
    /// The component answers something else than it should, or traps at once.
    pub async fn call(&mut self, name: &str) -> anyhow::Result<()> {
        let request = stage::request(name.to_owned());
        let request = Request {
            name: request.name,
            owner: request.owner,
            lifetime_ms: request
                .lifetime
                .and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok()),
            attributes: request.attributes,
        };
        if let Some(trap) = self.answers(&request).await? {
            ensure!(self.calls > 1, "its first call trapped: {:#}", told(trap));
            (self.store, self.registrar) = self.of.instantiate().await.map_err(told)?;
            (self.calls, self.renewed) = (0, self.renewed + 1);
            let again = self.answers(&request).await?;
            again
                .map_or(Ok(()), |trap| Err(told(trap)))
                .context("it trapped twice")?;
        }
        Ok(())
    }

    /// How often it has been made anew since this was asked for the last time.
    pub fn take_renewed(&mut self) -> u64 {
        std::mem::take(&mut self.renewed)
    }

    /// Calls it; what comes is why it trapped.
    async fn answers(&mut self, request: &Request) -> anyhow::Result<Option<wasmtime::Error>> {
        self.calls += 1;
        let handler = self.registrar.namelock_registration_handler();
        match handler.call_register(&mut self.store, request).await {
            Ok(Ok(registration)) => {
                ensure!(registration.owner == OWNER, "it was registered for somebody else");
                Ok(None)
            }
            Ok(Err(rejection)) => Err(anyhow!("a registration was refused: {rejection:?}")),
            Err(trap) => Ok(Some(trap)),
        }
    }
}

/// As far as it can be told from outside, compiles as the sandbox does.
fn engine() -> wasmtime::Result<Engine> {
    let SandboxConfig { memory_max, stack, .. } = SandboxConfig::default();
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_reservation(memory_max as u64)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK_BYTES);
    Engine::new(&config)
}

fn load(engine: &Engine, component: &Path) -> wasmtime::Result<RegistrarPre<State>> {
    let mut linker = Linker::new(engine);
    state::add_to_linker(&mut linker)?;
    let component = Component::from_file(engine, component)?;
    RegistrarPre::new(linker.instantiate_pre(&component)?)
}

/// An error of wasmtime as one of this program.
#[expect(clippy::needless_pass_by_value, reason = "it is what a result is mapped with")]
fn told(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}
