//! Loads components: from the cache of those that were compiled before, or through the compiler.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::cache::{Cache, Digest};
use crate::compiler::{CompilePermit, Compiler};
use crate::config::{CompilerConfig, SandboxConfig};
use crate::engine::{engine_config, spare_instances};
use crate::epoch::EpochTicker;
use crate::error::{LoadError, SandboxError, boxed};
use crate::handler::Handler;
use crate::imports;
use crate::long_run::LongRuns;
use crate::milliseconds::milliseconds;
use crate::service::Services;
use crate::state::State;
use crate::swap::Swap;
use crate::wit::bindings::RegistrarPre;

/// A component as its author built it.
pub struct Wasm {
    bytes: Vec<u8>,
    digest: Digest,
}

impl Wasm {
    /// Takes the bytes of a component and computes their digest, which takes some milliseconds for a long one.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// The digest of the component.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Loads components. Clones share one engine, its instance pool and its epoch; there should be one in a process.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    compiler: Arc<Compiler>,
    cache: Arc<Cache>,
    linker: Arc<Linker<State>>,
    ticker: Arc<EpochTicker>,
    long_runs: Arc<LongRuns>,
    services: Arc<Services>,
}

impl Sandbox {
    /// Sets up the engine: reserves address space for every instance, starts the thread that ticks, and opens the
    /// cache.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub fn new(config: &SandboxConfig, compiler: CompilerConfig) -> Result<Self, SandboxError> {
        let setup = |error| SandboxError::Engine(boxed(error));
        let swap = Swap::detect();
        swap.log();
        let engine = Engine::new(&engine_config(config, swap)).map_err(setup)?;
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        Ok(Self {
            cache: Arc::new(Cache::open(&compiler.cache, compatibility.finish(), compiler.artifact)?),
            compiler: Arc::new(Compiler::new(compiler, config.memory_max as u64)),
            linker: Arc::new(imports::linker(&engine).map_err(setup)?),
            ticker: EpochTicker::start(&engine, config.tick)?,
            long_runs: LongRuns::new(config.long_runs.max(1), spare_instances(config) as usize),
            services: Arc::new(Services::new()),
            engine,
        })
    }

    /// Loads a component from the cache; none where it is not there.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn load_compiled(&self, digest: Digest) -> Result<Option<Handler>, LoadError> {
        let sandbox = self.clone();
        let compiled = blocking(move || {
            let artifact = sandbox.cache.get(digest)?;
            sandbox
                .component(&artifact)
                .map_err(|error| sandbox.cache.discard_entry(digest, &format!("{error:#}")))
                .ok()
        });
        compiled.await?.map(|component| self.handler(&component)).transpose()
    }

    /// Waits until one more component may be compiled.
    pub async fn compiler(&self) -> CompilePermit<'_> {
        self.compiler.permit().await
    }

    /// Compiles a component, unless that was done while the caller waited for its permit, and checks that it fits.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn compile(&self, permit: CompilePermit<'_>, wasm: &Wasm) -> Result<Handler, LoadError> {
        let digest = wasm.digest();
        if let Some(handler) = self.load_compiled(digest).await? {
            return Ok(handler);
        }
        tracing::info!(component = %digest, bytes = wasm.bytes.len(), "compiling a component");
        let began = Instant::now();
        let artifact = self.compiler.compile(&permit, &wasm.bytes).await?;
        let took_ms = milliseconds(began.elapsed());
        tracing::info!(component = %digest, bytes = artifact.len(), took_ms, "component compiled");
        let sandbox = self.clone();
        let compiled = blocking(move || {
            let component = sandbox.component(&artifact)?;
            sandbox.cache.put(digest, &artifact);
            Ok(component)
        });
        let component = compiled.await?.map_err(|error| LoadError::Compile(boxed(error)))?;
        // Whoever compiles next finds it in the cache.
        drop(permit);
        self.handler(&component)
    }

    /// Maps what a compiler wrote as machine code.
    fn component(&self, artifact: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are the output of `Engine::precompile_component` in this very program: they come through a
        // pipe from the child that ran it, or from the cache, whose MAC shows that a host wrote there what it had
        // received in that way. wasmtime itself checks that version and settings are those of this engine.
        unsafe { Component::deserialize(&self.engine, artifact) }
    }

    fn handler(&self, component: &Component) -> Result<Handler, LoadError> {
        let not_granted = imports::not_granted(&self.engine, component);
        if !not_granted.is_empty() {
            return Err(LoadError::NotGranted(not_granted));
        }
        let pre = self.linker.instantiate_pre(component).and_then(RegistrarPre::new);
        let pre = pre.map_err(|error| LoadError::World(boxed(error)))?;
        Ok(Handler::new(
            pre,
            Arc::clone(&self.ticker),
            Arc::clone(&self.long_runs),
            Arc::clone(&self.services),
        ))
    }
}

/// Runs work that reads files or maps code on a thread that may block; a panic there is an error of this component.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    let crashed = |error: tokio::task::JoinError| LoadError::Crashed {
        status: "a panic".to_owned(),
        words: error.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}
