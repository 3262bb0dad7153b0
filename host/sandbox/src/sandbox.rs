//! Loads components: from the cache of those that were compiled before, or through the compiler.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use namelock_account::{Account, Counter};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::cache::{Cache, Digest, Entry, InUse};
use crate::compiler::{ArtifactMax, CompilePermit, Compiler, Effort};
use crate::config::{CompilerConfig, SandboxConfig};
use crate::engine::{engine_config, spare_instances};
use crate::epoch::EpochTicker;
use crate::error::{LoadError, SandboxError, boxed};
use crate::handler::Handler;
use crate::imports;
use crate::long_run::LongRuns;
use crate::service::Services;
use crate::state::State;
use crate::swap::Swap;
use crate::taping::Origin;
use crate::wit::bindings::RegistrarIndices;
use crate::wit::bindings::updating::UpdatesAloneIndices;
use namelock_types::milliseconds;

/// The interface that a component exports if it lets registrations be changed.
const UPDATES: &str = "namelock:registration/updates@0.1.1";

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

    /// The component.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The digest of the component.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A component that was loaded. Its artifact stays in the cache as long as this does.
#[derive(Clone)]
pub struct Loaded {
    /// Runs its calls.
    pub handler: Handler,
    /// Which component it is.
    pub digest: Digest,
    /// Bytes of what it was compiled to.
    pub artifact_bytes: u64,
    _in_use: Arc<InUse>,
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
    stack: usize,
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
            stack: config.stack,
            engine,
        })
    }

    /// How many components may be compiled at once.
    pub fn compilers(&self) -> usize {
        self.compiler.processes()
    }

    /// Loads a component from the cache; none where it is not there. `artifact_max` is its tenant's `limits.artifact`.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn load_compiled(&self, digest: Digest, artifact_max: usize) -> Result<Option<Loaded>, LoadError> {
        let (sandbox, artifact_max) = (self.clone(), self.compiler.artifact_max(artifact_max));
        let load = move || {
            // Held from before it is looked at, so that it is not removed meanwhile.
            let in_use = sandbox.cache.hold(digest);
            let Some(entry) = sandbox.cache.get(digest) else {
                return Ok(None);
            };
            within(entry.bytes, artifact_max)?;
            match sandbox.map(&entry) {
                Ok(component) => sandbox.loaded(&component, digest, entry.bytes, in_use).map(Some),
                Err(error) => {
                    sandbox.cache.discard_entry(digest, &format!("{error:#}"));
                    Ok(None)
                }
            }
        };
        blocking(load).await?
    }

    /// Waits until one more component may be compiled.
    pub async fn compiler(&self) -> CompilePermit<'_> {
        self.compiler.permit().await
    }

    /// Compiles a component, unless that was done while the caller waited for its permit, and checks that it fits. The time is
    /// booked to `account`; `artifact_max` is its tenant's `limits.artifact`.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn compile(
        &self,
        permit: CompilePermit<'_>,
        wasm: &Wasm,
        artifact_max: usize,
        account: &Account,
        effort: Effort,
    ) -> Result<Loaded, LoadError> {
        let digest = wasm.digest();
        if let Some(loaded) = self.load_compiled(digest, artifact_max).await? {
            return Ok(loaded);
        }
        tracing::info!(component = %digest, bytes = wasm.bytes.len(), "compiling a component");
        let began = Instant::now();
        let artifact_max = self.compiler.artifact_max(artifact_max);
        let compiled = self.compiler.compile(&permit, &wasm.bytes, artifact_max, effort).await;
        account.charge_time(Counter::CompileNanos, began.elapsed());
        let artifact = compiled?;
        let took_ms = milliseconds(began.elapsed());
        tracing::info!(component = %digest, bytes = artifact.len(), took_ms, "component compiled");
        let sandbox = self.clone();
        let loaded = blocking(move || sandbox.load_and_keep(digest, &artifact)).await?;
        // Whoever compiles next finds it in the cache.
        drop(permit);
        loaded
    }

    /// Loads what was compiled, and keeps it only once it is known to fit.
    fn load_and_keep(&self, digest: Digest, artifact: &[u8]) -> Result<Loaded, LoadError> {
        let in_use = self.cache.hold(digest);
        let draft = self
            .cache
            .write(digest, artifact)
            .inspect_err(|error| self.cache.not_kept(error))
            .ok();
        let component = match &draft {
            Some(draft) => self.map(&draft.entry),
            // SAFETY: as of `map`; the bytes came through the pipe just now.
            None => unsafe { Component::deserialize(&self.engine, artifact) },
        };
        let component = component.map_err(|error| LoadError::Compile(boxed(error)))?;
        let loaded = self.loaded(&component, digest, artifact.len() as u64, in_use)?;
        if let Some(draft) = draft {
            self.cache.keep(&draft);
        }
        Ok(loaded)
    }

    /// Maps what a compiler wrote as machine code. The pages come from the file when they are used, and all processes that have
    /// mapped it share them; they are no memory of this one.
    fn map(&self, entry: &Entry) -> wasmtime::Result<Component> {
        // SAFETY: the file holds the output of `Engine::precompile_component` in this very program: it came through a pipe from
        // the child that ran it, and was written by a host, as the MAC shows. The file is not changed once it was written, by
        // anybody but the user of this host (see `cache`). What follows the artifact in it, the MAC, is no part of the image.
        // wasmtime itself checks that version and settings are those of this engine.
        unsafe { Component::deserialize_file(&self.engine, entry.path()) }
    }

    fn loaded(
        &self,
        component: &Component,
        digest: Digest,
        artifact_bytes: u64,
        in_use: Arc<InUse>,
    ) -> Result<Loaded, LoadError> {
        let handler = self.handler(component, digest)?;
        Ok(Loaded {
            handler,
            digest,
            artifact_bytes,
            _in_use: in_use,
        })
    }

    fn handler(&self, component: &Component, digest: Digest) -> Result<Handler, LoadError> {
        let not_granted = imports::not_granted(&self.engine, component);
        if !not_granted.is_empty() {
            return Err(LoadError::Unfit(not_granted));
        }
        let world = |error| LoadError::World(boxed(error));
        let pre = self.linker.instantiate_pre(component).map_err(world)?;
        // What exports it in another form than the world's does not fit; what does not export it is called without it.
        let exports_updates = component.get_export_index(None, UPDATES).is_some();
        let updates = exports_updates.then(|| UpdatesAloneIndices::new(&pre));
        Ok(Handler::new(
            pre.clone(),
            RegistrarIndices::new(&pre).map_err(world)?,
            updates.transpose().map_err(world)?,
            Arc::clone(&self.ticker),
            Arc::clone(&self.long_runs),
            Arc::clone(&self.services),
            Origin {
                digest,
                stack: self.stack,
            },
        ))
    }
}

/// Refuses an artifact that was compiled for a tenant that may have a longer one.
fn within(bytes: u64, max: ArtifactMax) -> Result<(), LoadError> {
    if bytes > max.bytes as u64 {
        return Err(max.exceeded());
    }
    Ok(())
}

/// Runs work that reads files or maps code on a thread that may block; a panic there is an error of this component.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    let crashed = |error: tokio::task::JoinError| LoadError::Crashed {
        status: "a panic".to_owned(),
        words: error.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}
