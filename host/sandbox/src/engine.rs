//! How wasmtime is set up, in the host that runs components and in the child that compiles them.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::SandboxConfig;
use crate::trap::FRAMES_MAX;

/// What one component may consist of. Real ones have one memory and a handful of core instances; each one that is
/// allowed costs address space in every slot of the pool.
const CORE_INSTANCES_MAX: u32 = 20;
const MEMORIES_MAX: u32 = 4;
const TABLES_MAX: u32 = 8;
const TABLE_ELEMENTS_MAX: usize = 20_000;
const INSTANCE_BYTES_MAX: usize = 1 << 20;

/// How much of a memory stays resident when its slot is given back. What was written there is cleared, which is cheaper
/// than having the kernel take the pages away and map them again for the next call.
pub(crate) const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// How much more stack the host's functions have than the guest.
const HOST_STACK_BYTES: usize = 256 << 10;

/// Returns what the compiler and the engine that runs its output must have in common. A test loads what the one made
/// into the other.
pub(crate) fn compiler_config(memory_max: u64) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).memory_reservation(memory_max);
    config
}

/// Returns how many instances there are beside those of running calls: of calls whose callers have hung up, which keep
/// their slots until it is their turn to give their memory back.
pub(crate) fn spare_instances(config: &SandboxConfig) -> u32 {
    config.instances / 4
}

/// Returns the configuration of the engine that runs components.
pub(crate) fn engine_config(config: &SandboxConfig) -> Config {
    let count = config.instances.saturating_add(spare_instances(config));
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
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES_MAX))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(config.stack)
        .async_stack_size(config.stack + HOST_STACK_BYTES);
    engine
}
