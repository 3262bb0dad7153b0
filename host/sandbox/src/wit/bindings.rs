//! The WIT of `wit/`, as Rust.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "registrar",
    imports: {
        "namelock:registration/locks.acquire": async | trappable,
        "namelock:registration/locks.acquire-all": async | trappable,
        "namelock:registration/locks.release": async | trappable,
        "namelock:registration/locks.[method]lease.renew": async | trappable,
        "namelock:registration/locks.[drop]lease": async | trappable,
        "namelock:registration/names": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "namelock:registration/locks.lease": crate::leases::LeaseHandle },
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
            "namelock:registration/locks": super::namelock::registration::locks,
        },
    });
}
