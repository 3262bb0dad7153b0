//! Looks at a component before it is compiled, and says everything at once that it would be refused for.
//!
//! Compiling takes seconds to minutes; this takes milliseconds. It reads the sections of the component and of what is nested in
//! it, once and without recursion, and never a function's body. So its time and its memory are bounded by the length of the
//! component ([`DEPTH_MAX`] levels of nesting, and what an [`Unfit`] holds).
//!
//! What cannot be known here counts as nothing: the sandbox checks what was compiled against the world and the pool again, and
//! that check decides. A component that cannot be parsed is left to the compiler, which says why.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, Instance, Name, NameSectionReader, Parser, Payload,
};

use crate::engine::COMPONENT_MAX;
use crate::imports;
use crate::unfit::{Unfit, cut};

/// How deep components and modules may be nested.
const DEPTH_MAX: usize = 64;

/// The longest name that a function may have, in bytes. wasmtime copies the whole name of each frame of a trap that it
/// captures, on the host; the longest names of real compilers, those of C++ templates, are a few kilobytes.
const FUNCTION_NAME_BYTES_MAX: usize = 16 << 10;

/// The interface that a component must export, in any version of 0.1.
const HANDLER: &str = "namelock:registration/handler@0.1";

/// What is said of a component without it.
const NO_WORLD: &str = "does not fit the world namelock:registration/registrar@0.1.1";

/// What every version of that interface begins with.
const ANY_HANDLER: &str = "namelock:registration/handler";

/// What a binary begins with.
const MAGIC: &[u8] = b"\0asm";

/// What is said of anything else.
const NO_BINARY: &str = "is no WebAssembly binary; give the component that the build has made";

/// What is said of a core module.
const CORE_MODULE: &str = "is a core module and no component; build it for wasm32-wasip2, or make a component of it with \
                           `wasm-tools component new`";

/// The size of a page of a memory, as a power of two, unless the memory says otherwise.
const PAGE_BYTES_LOG2: u32 = 16;

/// What an instance takes of something, and how much of it there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Of what, in the plural.
    pub what: &'static str,
    /// How much the component has.
    pub has: u64,
    /// How much it may have.
    pub most: u64,
}

impl Need {
    const fn new(what: &'static str, has: u64, most: u64) -> Self {
        Self { what, has, most }
    }

    fn problem(&self) -> Option<String> {
        let Self { what, has, most } = self;
        (has > most).then(|| format!("has {has} {what}, and {most} are allowed"))
    }
}

/// What is known of a component before it is compiled.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// What it is refused for.
    pub unfit: Unfit,
    /// What each instance of it takes; empty where that is not known.
    pub needs: Vec<Need>,
}

/// What instantiating something once takes.
#[derive(Clone, Copy, Default)]
struct Needs {
    core_instances: u64,
    memories: u64,
    tables: u64,
    /// The largest memory, in bytes.
    memory_bytes: u64,
    /// The largest table.
    table_elements: u64,
}

impl Needs {
    /// A core module of which nothing is known.
    const MODULE: Self = Self {
        core_instances: 1,
        memories: 0,
        tables: 0,
        memory_bytes: 0,
        table_elements: 0,
    };

    /// Adds another one. A component that instantiates another one twice, level by level, doubles: hence saturating.
    fn add(&mut self, other: Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.table_elements = self.table_elements.max(other.table_elements);
    }

    fn compare(&self, memory_max: u64) -> [Need; 5] {
        let max = &COMPONENT_MAX;
        [
            Need::new("core instances", self.core_instances, max.core_instances),
            Need::new("memories", self.memories, max.memories),
            Need::new("tables", self.tables, max.tables),
            Need::new("bytes in a memory at its start", self.memory_bytes, memory_max),
            Need::new(
                "elements in a table at its start",
                self.table_elements,
                max.table_elements,
            ),
        ]
    }
}

/// A component or module whose end was not reached yet.
#[derive(Default)]
struct Open {
    is_module: bool,
    needs: Needs,
    /// The index spaces of a component.
    modules: Vec<Needs>,
    components: Vec<Needs>,
}

/// Looks at a component as the compiler does before it compiles one; `memory_max` is the largest memory in bytes.
// Keeps P6: what no handler may be is refused before it costs a compiler its time.
pub fn inspect(wasm: &[u8], memory_max: u64) -> Inspection {
    let mut inspection = Inspection::default();
    if wasm.starts_with(MAGIC) {
        inspection.read(wasm, memory_max);
    } else {
        inspection.unfit.problems.push(NO_BINARY.to_owned());
    }
    inspection
}

impl Inspection {
    fn read(&mut self, wasm: &[u8], memory_max: u64) {
        let unfit = &mut self.unfit;
        let mut handler: Option<&str> = None;
        let mut open: Vec<Open> = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            let Ok(payload) = payload else { return };
            let depth = open.len();
            match payload {
                Payload::Version { encoding, .. } => {
                    let is_module = encoding == Encoding::Module;
                    if depth == 0 && is_module {
                        unfit.problems.push(CORE_MODULE.to_owned());
                        return;
                    }
                    if depth == DEPTH_MAX {
                        unfit.problems.push(format!("is nested deeper than {DEPTH_MAX} levels"));
                        return;
                    }
                    let needs = if is_module { Needs::MODULE } else { Needs::default() };
                    open.push(Open {
                        is_module,
                        needs,
                        ..Open::default()
                    });
                }
                Payload::End(_) => {
                    let Some(ended) = open.pop() else { return };
                    match open.last_mut() {
                        Some(outer) if ended.is_module => outer.modules.push(ended.needs),
                        Some(outer) => outer.components.push(ended.needs),
                        None => {
                            self.needs = ended.needs.compare(memory_max).into();
                            unfit.problems.extend(self.needs.iter().filter_map(Need::problem));
                            match handler {
                                None => unfit.problems.push(format!("{NO_WORLD}: it exports no {HANDLER}")),
                                Some(other) if !is_handler(other) => {
                                    let problem = format!("{NO_WORLD}: it exports {}, and not {HANDLER}", cut(other));
                                    unfit.problems.push(problem);
                                }
                                Some(_) => {}
                            }
                        }
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports.into_iter().flatten() {
                        // A type that is imported by itself is no power; whether it fits is checked later.
                        let is_type = matches!(import.ty, ComponentTypeRef::Type(_));
                        if !is_type && !imports::is_granted(import.name.name) {
                            unfit.import(import.name.name);
                        }
                        open[0].imported(import.ty);
                    }
                }
                Payload::ComponentExportSection(exports) => {
                    for export in exports.into_iter().flatten() {
                        let name = export.name.name;
                        // What fits counts, also where it is exported in other versions too.
                        if depth == 1 && name.starts_with(ANY_HANDLER) && handler.is_none_or(|other| !is_handler(other))
                        {
                            handler = Some(name);
                        }
                        if let Some(inner) = open.last_mut() {
                            inner.exported(export.kind, export.index);
                        }
                    }
                }
                Payload::CustomSection(custom) if custom.name() == "name" => {
                    let longest = longest_function_name(custom.data_reader());
                    if longest > FUNCTION_NAME_BYTES_MAX {
                        unfit.problems.push(format!(
                        "has a function whose name is {longest} bytes long, and {FUNCTION_NAME_BYTES_MAX} are allowed"
                    ));
                        return;
                    }
                }
                payload => section(&mut open, payload),
            }
        }
    }
}

/// The length of the longest name that a name section gives to a function. What cannot be parsed ends it, as it does for
/// wasmtime, which then knows no further names.
fn longest_function_name(section: BinaryReader<'_>) -> usize {
    let names = NameSectionReader::new(section).map_while(Result::ok);
    let functions = names.filter_map(|name| match name {
        Name::Function(names) => Some(names.into_iter().map_while(Result::ok).map(|naming| naming.name.len())),
        _ => None,
    });
    functions.flatten().max().unwrap_or_default()
}

fn is_handler(export: &str) -> bool {
    let rest = export.strip_prefix(HANDLER);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Reads a section that says what is instantiated, or adds to an index space.
fn section(open: &mut [Open], payload: Payload<'_>) {
    let Some((inner, outer)) = open.split_last_mut() else {
        return;
    };
    match payload {
        Payload::MemorySection(memories) => {
            for memory in memories.into_iter().flatten() {
                let page = memory.page_size_log2.unwrap_or(PAGE_BYTES_LOG2).min(PAGE_BYTES_LOG2);
                inner.needs.memories += 1;
                inner.needs.memory_bytes = inner.needs.memory_bytes.max(memory.initial.saturating_mul(1 << page));
            }
        }
        Payload::TableSection(tables) => {
            for table in tables.into_iter().flatten() {
                inner.needs.tables += 1;
                inner.needs.table_elements = inner.needs.table_elements.max(table.ty.initial);
            }
        }
        Payload::InstanceSection(instances) => {
            for instance in instances.into_iter().flatten() {
                if let Instance::Instantiate { module_index, .. } = instance {
                    let module = inner.modules.get(module_index as usize);
                    inner.needs.add(module.copied().unwrap_or(Needs::MODULE));
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances.into_iter().flatten() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance {
                    let component = inner.components.get(component_index as usize);
                    inner.needs.add(component.copied().unwrap_or_default());
                }
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases.into_iter().flatten() {
                inner.aliased(outer, &alias);
            }
        }
        Payload::ComponentImportSection(imports) => {
            imports
                .into_iter()
                .flatten()
                .for_each(|import| inner.imported(import.ty));
        }
        _ => {}
    }
}

impl Open {
    /// An import adds to an index space; what comes in through it is not known here.
    fn imported(&mut self, ty: ComponentTypeRef) {
        match ty {
            ComponentTypeRef::Module(_) => self.modules.push(Needs::MODULE),
            ComponentTypeRef::Component(_) => self.components.push(Needs::default()),
            _ => {}
        }
    }

    /// An export gives what it exports one more index.
    fn exported(&mut self, kind: ComponentExternalKind, index: u32) {
        let known = |space: &[Needs], unknown| space.get(index as usize).copied().unwrap_or(unknown);
        match kind {
            ComponentExternalKind::Module => self.modules.push(known(&self.modules, Needs::MODULE)),
            ComponentExternalKind::Component => self.components.push(known(&self.components, Needs::default())),
            _ => {}
        }
    }

    fn aliased(&mut self, outer: &[Self], alias: &ComponentAlias<'_>) {
        match *alias {
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Module,
                ..
            } => {
                self.modules.push(Needs::MODULE);
            }
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Component,
                ..
            } => {
                self.components.push(Needs::default());
            }
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::CoreModule,
                count,
                index,
            } => {
                let module = self
                    .enclosing(outer, count)
                    .and_then(|from| from.modules.get(index as usize));
                let module = module.copied().unwrap_or(Needs::MODULE);
                self.modules.push(module);
            }
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::Component,
                count,
                index,
            } => {
                let component = self
                    .enclosing(outer, count)
                    .and_then(|from| from.components.get(index as usize));
                let component = component.copied().unwrap_or_default();
                self.components.push(component);
            }
            _ => {}
        }
    }

    /// The component that is `count` levels further out; none levels further out is this one.
    fn enclosing<'a>(&'a self, outer: &'a [Self], count: u32) -> Option<&'a Self> {
        match count as usize {
            0 => Some(self),
            count => outer.get(outer.len().checked_sub(count)?),
        }
    }
}

#[cfg(test)]
mod tests;
