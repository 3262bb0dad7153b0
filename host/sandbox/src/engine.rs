//! How wasmtime is set up, in the host that runs components and in the child that compiles them.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::SandboxConfig;
use crate::swap::Swap;

/// What one component may consist of. One in Rust has a handful of core instances, one in Python 39. Memories and
/// tables cost address space in every slot of the pool. Core instances do not: they live on the heap, and all of a
/// component together are no larger than [`INSTANCE_BYTES_MAX`].
const CORE_INSTANCES_MAX: u32 = 64;
const MEMORIES_MAX: u32 = 4;
const TABLES_MAX: u32 = 8;
const TABLE_ELEMENTS_MAX: usize = 20_000;
const INSTANCE_BYTES_MAX: usize = 1 << 20;

/// How much of a memory stays resident when its slot is given back. What was written there is cleared, which is cheaper
/// than having the kernel take the pages away and map them again for the next call.
pub(crate) const KEEP_RESIDENT_BYTES: usize = 2 << 20;

/// How many frames of a trapped guest are captured, and so rendered.
pub(crate) const FRAMES_MAX: usize = 16;

/// How much more stack the host's functions have than the guest.
const HOST_STACK_BYTES: usize = 256 << 10;

/// Returns what the compiler and the engine that runs its output must have in common. A test loads what the one made
/// into the other.
///
/// A memory has as much address space as it may grow to, and machine code checks what it reads and writes. With the 4 GiB that
/// a guest can address it would not have to, which makes interpreters up to a tenth faster; but the neighbour of a guest that
/// floods the host with calls then waits four times as long (`namelock-bench neighbour "calls of the host"`: p99 25 ms
/// instead of 6).
pub(crate) fn compiler_config(memory_max: u64) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_reservation(memory_max)
        .memory_guaranteed_dense_image_size(DENSE_IMAGE_BYTES);
    config
}

/// Returns how many instances there are beside those of running calls: of calls whose callers have hung up, which keep
/// their slots until it is their turn to give their memory back.
pub(crate) fn spare_instances(config: &SandboxConfig) -> u32 {
    config.instances / 4
}

/// Returns the configuration of the engine that runs components; `swap` decides how slots are reset.
pub(crate) fn engine_config(config: &SandboxConfig, swap: Swap) -> Config {
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
        .pagemap_scan(if swap.allows_scan() { Enabled::Auto } else { Enabled::No });
    let mut engine = compiler_config(config.memory_max as u64);
    engine
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES_MAX))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(config.stack)
        .async_stack_size(config.stack + HOST_STACK_BYTES);
    engine
}

/// How long the image of a memory may be that is made however few of its bytes are data: one page of a guest.
///
/// Of a longer one at least half of the bytes must be data, or it is filled when the instance is made. So a component is not
/// compiled to much more than it brings: by default, two segments of one byte 16 MiB apart make an image of 16 MiB.
const DENSE_IMAGE_BYTES: u64 = 64 << 10;

/// What one component may consist of.
pub(crate) struct ComponentMax {
    pub(crate) core_instances: u64,
    pub(crate) memories: u64,
    pub(crate) tables: u64,
    pub(crate) table_elements: u64,
}

/// What the pool has a place for; whatever is more is refused before it is compiled.
pub(crate) const COMPONENT_MAX: ComponentMax = ComponentMax {
    core_instances: CORE_INSTANCES_MAX as u64,
    memories: MEMORIES_MAX as u64,
    tables: TABLES_MAX as u64,
    table_elements: TABLE_ELEMENTS_MAX as u64,
};

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::process::Command;

    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    fn config(instances: u32) -> SandboxConfig {
        SandboxConfig {
            instances,
            ..SandboxConfig::default()
        }
    }

    fn engine(instances: u32, swap: Swap) -> Engine {
        let mut engine = engine_config(&config(instances), swap);
        engine.epoch_interruption(false);
        Engine::new(&engine).unwrap()
    }

    /// A component of this many core instances of one module.
    fn component(instances: u32) -> String {
        let mut text = "(component (core module $m (func (export \"f\")))".to_owned();
        for _ in 0..instances {
            let _ = write!(text, "(core instance (instantiate $m))");
        }
        text + ")"
    }

    #[test]
    fn a_component_has_64_core_instances_and_no_more() {
        let engine = engine(1, Swap::None);
        let instantiate = |instances| {
            let component = Component::new(&engine, wat::parse_str(component(instances)).unwrap())?;
            let mut store = Store::new(&engine, ());
            Linker::new(&engine).instantiate(&mut store, &component).map(drop)
        };
        instantiate(64).unwrap();
        let refused = instantiate(65).unwrap_err();
        assert!(format!("{refused:#}").contains("65"), "{refused:#}");
    }

    /// Writes a secret into a slot of the pool, asks the kernel to swap it out, and returns what the next instance
    /// finds there.
    fn left_after_swapping(swap: Swap) -> u8 {
        let engine = engine(4, swap);
        // In the middle of more memory than a slot keeps.
        const AT: usize = 8 << 20;
        let module = Module::new(&engine, wat::parse_str("(module (memory (export \"m\") 256))").unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let pages = &mut memory.data_mut(&mut store)[..AT + (1 << 20)];
        pages.iter_mut().step_by(4096).for_each(|byte| *byte = 42);
        // SAFETY: the range is that of a slice, and paging it out changes nothing of what is read there.
        let out =
            unsafe { rustix::mm::madvise(pages.as_mut_ptr().cast(), pages.len(), rustix::mm::Advice::LinuxPageOut) };
        out.unwrap();
        drop(store);
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        memory.data(&store)[..AT + (1 << 20)]
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
    }

    /// A file to which this machine swaps until this is dropped.
    struct SwapFile(tempfile::TempDir);

    impl SwapFile {
        /// None where that is not permitted.
        fn make() -> Option<Self> {
            let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).ok()?;
            let file = dir.path().join("swap");
            fs::write(&file, vec![0; 64 << 20]).ok()?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&file, mode).ok()?;
            let run = |program: &str| {
                let ran = Command::new(program).arg(&file).output();
                ran.is_ok_and(|output| output.status.success())
            };
            (run("mkswap") && run("swapon")).then(|| Self(dir))
        }
    }

    impl Drop for SwapFile {
        fn drop(&mut self) {
            let off = Command::new("swapoff").arg(self.0.path().join("swap")).status();
            assert!(off.is_ok_and(|status| status.success()), "the test's swap stays on");
        }
    }

    // Shows P6: what one call wrote does not reach the next one, also where it was swapped out.
    #[test]
    fn a_page_that_was_swapped_out_is_reset() {
        let Some(swap_file) = SwapFile::make() else {
            eprintln!("swapon is not permitted here, so only the decision is tested, in `swap`");
            return;
        };
        let swap = Swap::detect();
        assert_ne!(swap, Swap::None, "there is swap");
        assert_eq!(left_after_swapping(Swap::Possible), 0);
        if swap.allows_scan() {
            assert_eq!(left_after_swapping(swap), 0);
        } else if left_after_swapping(Swap::None) == 0 {
            eprintln!("with this kernel and this wasmtime nothing would have been left either");
        }
        drop(swap_file);
    }
}
