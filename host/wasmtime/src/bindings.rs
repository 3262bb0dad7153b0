//! The interface `namelock:registration/locks` of `wit/`, as Rust.
#![expect(missing_docs, reason = "it is generated from the WIT, which documents it")]

wasmtime::component::bindgen!({
    inline: "
        package namelock:wasmtime;
        world host {
            import namelock:registration/locks@0.1.1;
        }
    ",
    path: "wit",
    imports: {
        "namelock:registration/locks.acquire": async | trappable,
        "namelock:registration/locks.acquire-all": async | trappable,
        "namelock:registration/locks.release": async | trappable,
        "namelock:registration/locks.[method]lease.renew": async | trappable,
        "namelock:registration/locks.[drop]lease": async | trappable,
        default: trappable,
    },
    with: { "namelock:registration/locks.lease": crate::leases::LeaseHandle },
});
