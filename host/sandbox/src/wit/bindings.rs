//! The WIT of `wit/`, as Rust.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "registrar",
    imports: {
        "namelock:registration/locks.acquire": async | trappable,
        "namelock:registration/locks.release": async | trappable,
        "namelock:registration/locks.[method]lease.renew": async | trappable,
        "namelock:registration/locks.[drop]lease": async | trappable,
        "namelock:registration/names": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "namelock:registration/locks.lease": crate::leases::LeaseHandle },
});
