//! Components that are made to break a compiler: small to send, and as much work as their format allows.

use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentExportKind, ComponentExportSection, ComponentInstanceSection,
    ComponentTypeSection, ComponentValType, ConstExpr, DataSection, Function, FunctionSection, Instruction as I,
    MemorySection, MemoryType, Module, ModuleSection, NestedComponentSection, PrimitiveValType, TypeSection, ValType,
};

/// A function as long as one may be, whose values are alive all the time: the register allocator drowns in it.
pub fn giant_function() -> Vec<u8> {
    component(&giant_module())
}

/// The same, in a component that is no handler, which can be known without compiling it.
pub fn giant_function_without_handler() -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(&giant_module()));
    component.finish()
}

/// Modules of a few bytes whose memories have data at their beginning and at their end: as images, they take almost 128 MiB.
pub fn sparse_data() -> Vec<u8> {
    const PAGES: u64 = 255;
    let (mut memories, mut data) = (MemorySection::new(), DataSection::new());
    memories.memory(MemoryType {
        minimum: PAGES,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    for offset in [0, (PAGES as i32 * 65_536) - 1] {
        data.active(0, &ConstExpr::i32_const(offset), [1]);
    }
    let mut module = Module::new();
    module.section(&memories).section(&data);
    let mut component = Component::new();
    for _ in 0..8 {
        component.section(&ModuleSection(&module));
    }
    export_handler(&mut component);
    component.finish()
}

fn giant_module() -> Module {
    const LOCALS: u32 = 20_000;
    let mut body = Function::new([(LOCALS, ValType::I64)]);
    // Any order will do that is far from regular.
    let mut state = 1_u32;
    let mut local = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % LOCALS
    };
    for _ in 0..200 {
        body.instruction(&I::Loop(BlockType::Empty));
        for _ in 0..2_000 {
            body.instruction(&I::LocalGet(local()))
                .instruction(&I::LocalGet(local()))
                .instruction(&I::I64Mul)
                .instruction(&I::LocalSet(local()));
        }
        body.instruction(&I::LocalGet(local()))
            .instruction(&I::I32WrapI64)
            .instruction(&I::BrIf(0))
            .instruction(&I::End);
    }
    body.instruction(&I::End);
    module([body])
}

/// Tens of thousands of functions, none of them remarkable.
pub fn many_functions() -> Vec<u8> {
    component(&module((0..60_000_i32).map(|number| {
        let mut body = Function::new([(8, ValType::I32)]);
        for local in 0..40 {
            body.instruction(&I::LocalGet(local % 8))
                .instruction(&I::I32Const(number))
                .instruction(&I::I32RemU)
                .instruction(&I::LocalSet((local + 1) % 8));
        }
        body.instruction(&I::End);
        body
    })))
}

/// A hundred thousand blocks, each in the one before.
pub fn deep_blocks() -> Vec<u8> {
    const DEPTH: usize = 100_000;
    let mut body = Function::new([]);
    for _ in 0..DEPTH {
        body.instruction(&I::Block(BlockType::Empty));
    }
    for _ in 0..=DEPTH {
        body.instruction(&I::End);
    }
    component(&module([body]))
}

/// A thousand components, each in the one before.
pub fn deep_components() -> Vec<u8> {
    let mut inner = Component::new();
    for _ in 0..1_000 {
        let mut outer = Component::new();
        outer.section(&NestedComponentSection(&inner));
        inner = outer;
    }
    inner.finish()
}

/// A type that doubles a hundred times.
pub fn huge_type() -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    types
        .defined_type()
        .tuple([ComponentValType::Primitive(PrimitiveValType::U64); 2]);
    for before in 0..100 {
        types.defined_type().tuple([ComponentValType::Type(before); 2]);
    }
    let mut component = Component::new();
    component.section(&types);
    export_handler(&mut component);
    component.finish()
}

/// A module of these functions, which take and give nothing.
fn module(bodies: impl IntoIterator<Item = Function>) -> Module {
    let (mut types, mut functions, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    for body in bodies {
        functions.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module
}

fn component(module: &Module) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(module));
    export_handler(&mut component);
    component.finish()
}

/// Exports what looks like a handler from outside, so that the compiler gets to see the component.
fn export_handler(component: &mut Component) {
    let nothing: [(&str, ComponentExportKind, u32); 0] = [];
    let (mut instances, mut exports) = (ComponentInstanceSection::new(), ComponentExportSection::new());
    instances.export_items(nothing);
    exports.export(
        "namelock:registration/handler@0.1.0",
        ComponentExportKind::Instance,
        0,
        None,
    );
    component.section(&instances).section(&exports);
}
