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

/// What a component exports beside that if it lets registrations be changed.
pub(crate) mod updating {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "updates-alone",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "namelock:registration/names": super::namelock::registration::names,
            "namelock:registration/locks": namelock_wasmtime::bindings::namelock::registration::locks,
        },
    });
}
