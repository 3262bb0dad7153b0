//! The one engine of this process, its instance pool and its clock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::RegistrarPre;
use crate::cache::{Cache, Digest};
use crate::compiler::{Compiler, Place};
use crate::config::{CompilerConfig, SandboxConfig};
use crate::error::{LoadError, SandboxError, boxed};
use crate::grants;
use crate::handler::Handler;
use crate::long_run::LongRuns;
use crate::state::State;

/// What one component may consist of. Real ones have one memory and a handful of core instances; each allowed one costs address
/// space in every slot of the pool.
const CORE_INSTANCES_MAX: u32 = 20;
const MEMORIES_MAX: u32 = 4;
const TABLES_MAX: u32 = 8;
const TABLE_ELEMENTS_MAX: usize = 20_000;
const INSTANCE_BYTES_MAX: usize = 1 << 20;

/// How much of a memory stays resident when its slot is given back. It is cleared where it was written, which is cheaper than to
/// have the kernel take the pages away and map them again for the next call.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// A component as its author built it.
pub struct Wasm {
    bytes: Vec<u8>,
    digest: Digest,
}

impl Wasm {
    /// Takes the bytes of a component, and their digest: some milliseconds for a long one.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// Which component it is.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Loads components and makes their instances. Clones share one engine; there should be one in a process.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    compiler: Arc<Compiler>,
    cache: Arc<Cache>,
    linker: Arc<Linker<State>>,
    clock: Arc<Clock>,
    long_runs: Arc<LongRuns>,
}

impl Sandbox {
    /// Sets up the engine: sets address space aside for every instance, starts the clock, and opens the cache of what was compiled.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub fn new(config: &SandboxConfig, compiler: CompilerConfig) -> Result<Self, SandboxError> {
        let setup = |error| SandboxError::Engine(boxed(error));
        let engine = Engine::new(&engine_config(config)).map_err(setup)?;
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        Ok(Self {
            cache: Arc::new(Cache::open(&compiler.cache, compatibility.finish(), compiler.artifact)?),
            compiler: Arc::new(Compiler::new(compiler, config.memory_max as u64)),
            linker: Arc::new(grants::linker(&engine).map_err(setup)?),
            clock: Clock::start(&engine, config.tick)?,
            long_runs: LongRuns::new(config.long_runs.max(1)),
            engine,
        })
    }

    /// Loads a component as it was compiled before; none where it was not.
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

    /// Waits for one's turn at the compiler.
    pub async fn compiler(&self) -> Place<'_> {
        self.compiler.place().await
    }

    /// Compiles a component, unless somebody did since it was asked for, and checks that it fits.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn compile(&self, place: Place<'_>, wasm: &Wasm) -> Result<Handler, LoadError> {
        let digest = wasm.digest();
        if let Some(handler) = self.load_compiled(digest).await? {
            return Ok(handler);
        }
        tracing::info!(component = %digest, bytes = wasm.bytes.len(), "compiling a component");
        let began = Instant::now();
        let artifact = self.compiler.compile(&place, &wasm.bytes).await?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(component = %digest, bytes = artifact.len(), took_ms, "component compiled");
        let sandbox = self.clone();
        let compiled = blocking(move || {
            let component = sandbox.component(&artifact)?;
            sandbox.cache.put(digest, &artifact);
            Ok(component)
        });
        let component = compiled.await?.map_err(|error| LoadError::Compile(boxed(error)))?;
        // Whoever is next at the compiler finds it in the cache.
        drop(place);
        self.handler(&component)
    }

    /// Takes in what a compiler wrote.
    fn component(&self, artifact: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what `Engine::precompile_component` of this very program has answered: they come through a pipe from
        // the child that ran it, or from the cache, whose MAC shows that a host wrote there what came to it in that way. wasmtime
        // itself checks that version and settings are those of this engine.
        unsafe { Component::deserialize(&self.engine, artifact) }
    }

    fn handler(&self, component: &Component) -> Result<Handler, LoadError> {
        let not_granted = grants::not_granted(&self.engine, component);
        if !not_granted.is_empty() {
            return Err(LoadError::NotGranted(not_granted));
        }
        let pre = self.linker.instantiate_pre(component).and_then(RegistrarPre::new);
        let pre = pre.map_err(|error| LoadError::World(boxed(error)))?;
        Ok(Handler::new(pre, Arc::clone(&self.clock), Arc::clone(&self.long_runs)))
    }
}

/// Runs what reads files or maps code where it may block; a panic there is an error of this component.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    let crashed = |error: tokio::task::JoinError| LoadError::Crashed {
        status: "a panic".to_owned(),
        words: error.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}

/// What the compiler and the engine that runs what it made must have in common. A test loads what the one made into the other.
pub(crate) fn compiler_config(memory_max: u64) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).memory_reservation(memory_max);
    config
}

fn engine_config(config: &SandboxConfig) -> Config {
    let count = config.instances;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count)
        .total_core_instances(count.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(count.saturating_mul(MEMORIES_MAX))
        .total_tables(count.saturating_mul(TABLES_MAX))
        .total_stacks(count)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        // A component of one module may have all of them there.
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_memory_size(config.memory_max)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_ELEMENTS_MAX * size_of::<usize>())
        // Finds the pages that a call wrote (Linux 6.7 and newer), so that only those are cleared.
        .pagemap_scan(Enabled::Auto);
    let mut engine = compiler_config(config.memory_max as u64);
    engine
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(config.stack)
        .async_stack_size(config.stack + (256 << 10));
    engine
}

/// Makes the engine's epoch grow once a tick, on a thread of its own, while calls are running.
pub(crate) struct Clock {
    running: AtomicUsize,
    thread: OnceLock<Thread>,
}

/// A call that the clock ticks for.
pub(crate) struct Ticking(Arc<Clock>);

impl Clock {
    fn start(engine: &Engine, tick: Duration) -> Result<Arc<Self>, SandboxError> {
        let clock = Arc::new(Self {
            running: AtomicUsize::new(0),
            thread: OnceLock::new(),
        });
        let (weak, engine) = (Arc::downgrade(&clock), engine.weak());
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while let Some(clock) = Weak::upgrade(&weak) {
                let idle = clock.running.load(Ordering::SeqCst) == 0;
                drop(clock);
                if idle {
                    // Woken by the first call that runs, or by the end of the sandbox.
                    std::thread::park();
                } else {
                    std::thread::sleep(tick);
                    if let Some(engine) = engine.upgrade() {
                        engine.increment_epoch();
                    }
                }
            }
        });
        let thread = thread.map_err(SandboxError::Clock)?;
        let _ = clock.thread.set(thread.thread().clone());
        Ok(clock)
    }

    pub(crate) fn tick(self: &Arc<Self>) -> Ticking {
        if self.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.wake();
        }
        Ticking(Arc::clone(self))
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.wake();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
