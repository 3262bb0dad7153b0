//! The WIT of `wit/`, as Rust.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "registrar",
    imports: {
        "namelock:registration/names": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "namelock:registration/locks": namelock_wasmtime::bindings::namelock::registration::locks },
});
