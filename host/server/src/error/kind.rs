//! The closed list of error codes. Each is declared once, with its status, title and page.
//!
//! `CONTRIBUTING.md` says how to add a code. Its entry in `error_kinds!` gives the status, the metric and log label,
//! and the section of `docs/errors.md`; an entry that leaves a field out does not compile.

use axum::http::StatusCode;

/// Whether the same request may do better later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Yes, after the time that the answer gives.
    Later,
    /// No: the same request most likely ends the same way again.
    No,
}

/// What the page of a code says beyond its one sentence.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Why it happens.
    pub why: &'static str,
    /// What the caller should do.
    pub caller: &'static str,
    /// What the author of the handler should do; empty where there is nothing.
    pub handler: &'static str,
    /// What the operator of the host should do; empty where there is nothing.
    pub operator: &'static str,
}

/// Everything that is declared about one code.
struct Declared {
    says: &'static [&'static str],
    label: &'static str,
    status: StatusCode,
    title: &'static str,
    retry: Retry,
    page: Page,
}

/// Declares [`ErrorKind`]. The doc comment of a kind is also its sentence for callers in `docs/errors.md`.
macro_rules! error_kinds {
    ($(
        $(#[doc = $says:literal])+
        $kind:ident {
            label: $label:literal,
            status: $status:ident,
            title: $title:literal,
            retry: $retry:ident,
            why: $why:literal,
            caller: $caller:literal,
            handler: $handler:literal,
            operator: $operator:literal $(,)?
        }
    )+) => {
        /// Why a request failed: one of a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum ErrorKind {
            $($(#[doc = $says])+ $kind,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of the declaration, so that `kind as usize` is its index.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$kind),+];
        }

        static DECLARED: [Declared; ErrorKind::ALL.len()] = [$(Declared {
            says: &[$($says),+],
            label: $label,
            status: StatusCode::$status,
            title: $title,
            retry: Retry::$retry,
            page: Page { why: $why, caller: $caller, handler: $handler, operator: $operator },
        }),+];
    };
}

error_kinds! {
    /// Something in it is missing, unknown or malformed, or its body did not arrive in time.
    InvalidRequest {
        label: "invalid_request",
        status: BAD_REQUEST,
        title: "The request cannot be understood",
        retry: No,
        why: "The body is not the JSON that the call expects, a field or query parameter is unknown or missing, an HTTP/1.1 request has no header `Host` or several, the owner is empty or over 255 bytes, or the body did not arrive within `http.body_timeout`.",
        caller: "Correct the request; `detail` names what is wrong with it.",
        handler: "",
        operator: "If clients on slow links are refused, raise `http.body_timeout`.",
    }
    /// The tenant has tokens, and the request carries none of them.
    Unauthorized {
        label: "unauthorized",
        status: UNAUTHORIZED,
        title: "The request is not authorised",
        retry: No,
        why: "The `Authorization: Bearer` header is missing, or its secret is not one of this tenant's tokens.",
        caller: "Send a current token of this tenant.",
        handler: "",
        operator: "Make a token with `namelock token new`, add it to the tenant's `tenant.toml`.",
    }
    /// The token lacks the right for this call, or the handler does not allow this owner to do it.
    Forbidden {
        label: "forbidden",
        status: FORBIDDEN,
        title: "The request is forbidden",
        retry: No,
        why: "The token is valid but lacks the right (`register`, `find`, `free`, `update`, `list` or `log`), or the handler returned `forbidden`.",
        caller: "Use a token that has the right, or the owner that holds the name.",
        handler: "The text of `forbidden` is shown to the caller as `detail`.",
        operator: "Add the right to the token in `tenant.toml`.",
    }
    /// No tenant has this id.
    UnknownTenant {
        label: "unknown_tenant",
        status: NOT_FOUND,
        title: "There is no such tenant",
        retry: No,
        why: "The directory of tenants has no subdirectory of this name, or it was added or removed since the directory was last read.",
        caller: "Check the tenant id in the path.",
        handler: "",
        operator: "Each host reads its own directory: copy the tenant to every host.",
    }
    /// The name has no active registration, or there is nothing at this path.
    NotFound {
        label: "not_found",
        status: NOT_FOUND,
        title: "Nothing is here",
        retry: No,
        why: "The name was never registered, was freed, or its registration has expired; or the path is not one of this API.",
        caller: "Ask for the name exactly as the 201 gave it: the handler may have normalised what you sent.",
        handler: "",
        operator: "",
    }
    /// There is something at this path, and it does not support this method.
    Unsupported {
        label: "unsupported",
        status: METHOD_NOT_ALLOWED,
        title: "The method is not supported here",
        retry: No,
        why: "The path is one of this API, and the method is not one of those that it supports; or the tenant's handler lets no registration be changed.",
        caller: "Use one of the methods that the header `Allow` lists.",
        handler: "",
        operator: "",
    }
    /// The name has an active registration.
    NameTaken {
        label: "name_taken",
        status: CONFLICT,
        title: "The name is taken",
        retry: No,
        why: "The handler found an active registration of the name, or the database refused to write a second one, or the name is held for its last owner for a while (`hold_ms`).",
        caller: "Choose another name, or come back after `retry_after_ms` where it is given. A request that was sent with an `Idempotency-Key` is never refused because of itself.",
        handler: "Return `taken` when `names.find` or `names.save` shows another registration.",
        operator: "",
    }
    /// The body is longer than this host reads.
    PayloadTooLarge {
        label: "payload_too_large",
        status: PAYLOAD_TOO_LARGE,
        title: "The body is too large",
        retry: No,
        why: "The body is longer than `http.body`. It is refused without being read to the end.",
        caller: "Send a shorter body.",
        handler: "",
        operator: "Raise `http.body` if tenants need larger attributes.",
    }
    /// The name or its attributes are not valid, by the host's rules or the handler's.
    NameInvalid {
        label: "name_invalid",
        status: UNPROCESSABLE_ENTITY,
        title: "The name is not valid",
        retry: No,
        why: "The name is empty or over 255 bytes, the attributes exceed `limits.attributes` or `limits.attribute_bytes`, or the handler returned `invalid`.",
        caller: "Correct the name; `detail` says what is wrong with it.",
        handler: "The text of `invalid` is shown to the caller as `detail`, so say what a valid name looks like.",
        operator: "",
    }
    /// Another request was sent with the same idempotency key.
    IdempotencyKeyReused {
        label: "idempotency_key_reused",
        status: UNPROCESSABLE_ENTITY,
        title: "The idempotency key belongs to another request",
        retry: No,
        why: "A registration was saved or changed by a request with this `Idempotency-Key` and another name, owner, lifetime or attributes.",
        caller: "Make a new key for every request, and send it again only with the very same request.",
        handler: "",
        operator: "",
    }
    /// Another request holds the lock on the name.
    NameBusy {
        label: "name_busy",
        status: LOCKED,
        title: "Somebody is at work on the name",
        retry: Later,
        why: "Another call holds the lock on the name, and the handler did not wait long enough to get it; or a request with the same `Idempotency-Key` still runs, or it is not known yet whether it was done. After a caller has hung up or was told `names_unavailable`, its name is busy until that is known, for 10 s (`lock.lease`) at most.",
        caller: "Send the request again after `retry_after_ms`.",
        handler: "Pass a longer `wait-ms` to `acquire` to queue for the lock, at most `lock.max_wait`; hold the lock only for as long as you need it.",
        operator: "",
    }
    /// The tenant has reached one of its limits.
    TenantLimit {
        label: "tenant_limit",
        status: TOO_MANY_REQUESTS,
        title: "The tenant is at its limit",
        retry: Later,
        why: "The tenant's requests come faster than `limits.rate`, it has as many calls as `limits.calls` and `limits.calls_waiting` allow, its calls read or write faster than `limits.read_rate` or `limits.write_rate`, it keeps as many registrations as `limits.registrations` and `limits.registration_bytes` allow, or one call of its handler exceeded a limit of a single call, such as `limits.leases`.",
        caller: "Send fewer requests at once, and wait for `retry_after_ms`. If `detail` says what the handler used too much of, it may have saved the name before: send the request again with its `Idempotency-Key` to find out.",
        handler: "If `detail` names a limit of a single call, the handler asks for too much: waiting does not help.",
        operator: "Raise the limit in the tenant's `tenant.toml`, within `[limits.max]`. [limits.md](limits.md) lists all limits.",
    }
    /// The handler ended in a trap; it may have saved the name before.
    HandlerTrapped {
        label: "handler_trapped",
        status: INTERNAL_SERVER_ERROR,
        title: "The handler failed",
        retry: No,
        why: "The handler panicked, overflowed its stack (`limits.stack`) or did something else that WebAssembly does not allow. Its locks are released.",
        caller: "Report it to the tenant, with the `request_id`. It may have saved the name before: send the request again with its `Idempotency-Key` to find out.",
        handler: "The host's log has the backtrace under the same `request_id`, with the target `guest`.",
        operator: "Pass the log lines of the `request_id` on to the tenant.",
    }
    /// The handler needs more memory than it may use; it may have saved the name before.
    HandlerOutOfMemory {
        label: "handler_out_of_memory",
        status: INTERNAL_SERVER_ERROR,
        title: "The handler ran out of memory",
        retry: No,
        why: "All memories and tables of the call together would exceed `limits.memory`.",
        caller: "Report it to the tenant, with the `request_id`. It may have saved the name before: send the request again with its `Idempotency-Key` to find out.",
        handler: "Use less memory for each call; every call starts in a fresh instance, so nothing accumulates.",
        operator: "Raise `limits.memory` for the tenant.",
    }
    /// The handler did not finish in time; send it again with its key to find out whether it saved the name.
    HandlerDeadline {
        label: "handler_deadline",
        status: GATEWAY_TIMEOUT,
        title: "The handler ran out of time",
        retry: No,
        why: "The call ran for longer than `limits.cpu_time`, or did not end within `limits.wall_time`. Its locks are released.",
        caller: "It may have saved the name: send the request again with its `Idempotency-Key`.",
        handler: "Do less work for each call, and wait for locks for a shorter time.",
        operator: "Raise `limits.cpu_time` or `limits.wall_time` for the tenant. If it happens to all tenants, the host is short of CPU.",
    }
    /// The lock was lost before the handler was done; send it again with its key to find out whether it saved the name.
    LeaseLost {
        label: "lease_lost",
        status: SERVICE_UNAVAILABLE,
        title: "The lock was lost before the work was done",
        retry: Later,
        why: "The handler ran for longer than its lease (`lock.lease`, or `lock.max_hold` with renewals), or memcached was restarted or flushed, so the lock was no longer certain, or an operator has ended the lease. The host ends such a call. A write whose fencing token is older than one that the database has seen for the name is refused with this code too.",
        caller: "It may have saved the name: send the request again with its `Idempotency-Key`, after `retry_after_ms`.",
        handler: "Hold a lease only for as long as you need it, and call `renew` before `remaining` (in WIT `remaining-ms`) runs out.",
        operator: "Look in the log for `memcached has lost locks`, which says why, for `a lease was ended by the operator`, and for a host that stood still.",
    }
    /// The lock service cannot be reached, or cannot grant safely now.
    LockUnavailable {
        label: "lock_unavailable",
        status: SERVICE_UNAVAILABLE,
        title: "The lock service is not available",
        retry: Later,
        why: "memcached does not answer, has no memory for another lock, or was restarted less than `lock.restart_grace` ago; or a queue of the host is full (`lock.waiters`, `lock.queue`, `lock.memory_locks`). What cannot be granted safely is refused at once.",
        caller: "Send the request again after `retry_after_ms`. With its `Idempotency-Key` nothing is done twice.",
        handler: "Return `unavailable` when `acquire` does.",
        operator: "Check memcached, its memory (`-m`), the network in between, and what the log says of its certificate or password. After a restart it ends by itself within one lease.",
    }
    /// The names database cannot be reached, or did not answer in time; send it again with its key to find out whether the name was
    /// saved.
    NamesUnavailable {
        label: "names_unavailable",
        status: SERVICE_UNAVAILABLE,
        title: "The names database is not available",
        retry: Later,
        why: "The database is down, slower than `names.timeout` (PostgreSQL) or locked for longer than `names.busy_timeout` (SQLite), too many reads or writes wait for it (`names.queue`), or PostgreSQL waits for a synchronous standby that is gone.",
        caller: "The write may have happened nevertheless: send the request again with its `Idempotency-Key`. A write that PostgreSQL holds back for its standby shows only when that is back; the same request sent again meanwhile saves nothing twice.",
        handler: "Return `unavailable` when `names` does.",
        operator: "Check the database and the network in between. For SQLite, check that no other process keeps a transaction open; for PostgreSQL, that its synchronous standby is there.",
    }
    /// The tenant's component cannot be loaded, or its handler says that it cannot work now.
    TenantUnavailable {
        label: "tenant_unavailable",
        status: SERVICE_UNAVAILABLE,
        title: "The tenant cannot be served",
        retry: No,
        why: "The component is missing, too large, does not compile or imports what the host does not offer; or `tenant.toml` has an error; or the handler returned `unavailable` without the lock or the database being the reason.",
        caller: "Where `retry_after_ms` is given, the component is being loaded: send the request again after that. Otherwise report it to the tenant. If `detail` is the handler's own text, it may have saved the name before: send the request again with its `Idempotency-Key` to find out.",
        handler: "Build the component for the world `registrar`; `unavailable` is meant for a dependency that is down.",
        operator: "`/tenants` on the admin listener and the log say why. Correct the files. A tenant that is `disabled` there waits for `namelock admin enable`.",
    }
    /// This host runs as many calls as it can.
    Overloaded {
        label: "overloaded",
        status: SERVICE_UNAVAILABLE,
        title: "The host is overloaded",
        retry: Later,
        why: "`http.calls` calls are running on this host, or so many that the tenant has its share of them: it may have no more than are free. And `http.calls_waiting` calls wait, or the tenant's share of those, or the call waited for longer than `http.calls_wait`.",
        caller: "Send the request again after `retry_after_ms`, to another host if you can. Nothing was saved.",
        handler: "",
        operator: "Add hosts, or raise `http.calls` if there is memory for `http.calls` × `limits.memory`.",
    }
    /// Something went wrong inside the host; the request is not the reason.
    Internal {
        label: "internal",
        status: INTERNAL_SERVER_ERROR,
        title: "The host failed",
        retry: No,
        why: "Something that should never happen in the host did. Nothing about it is shown to the caller.",
        caller: "Send the request again with its `Idempotency-Key`, and report the `request_id` to the operator.",
        handler: "",
        operator: "The log has the cause under the same `request_id`. This is a bug in namelock: report it.",
    }
}

impl ErrorKind {
    fn declared(self) -> &'static Declared {
        &DECLARED[self as usize]
    }

    /// The status of the response.
    pub fn status(self) -> StatusCode {
        self.declared().status
    }

    /// The code, as the response, the metric and the log spell it.
    pub fn label(self) -> &'static str {
        self.declared().label
    }

    /// A summary for people that is the same for every occurrence (RFC 9457, section 3.1.3).
    pub fn title(self) -> &'static str {
        self.declared().title
    }

    /// Whether the same request may do better after a wait.
    ///
    /// It is `No` for a handler that trapped or used up its limits: it would most likely do so again, at our cost.
    pub fn retry(self) -> Retry {
        self.declared().retry
    }

    /// One sentence for callers.
    pub fn sentence(self) -> String {
        let lines = self.declared().says.iter().map(|line| line.trim());
        lines.collect::<Vec<_>>().join(" ")
    }

    /// The rest of the code's page.
    pub fn page(self) -> Page {
        self.declared().page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_documented_status() {
        let table = [
            ("invalid_request", 400),
            ("unauthorized", 401),
            ("forbidden", 403),
            ("unknown_tenant", 404),
            ("not_found", 404),
            ("unsupported", 405),
            ("name_taken", 409),
            ("payload_too_large", 413),
            ("name_invalid", 422),
            ("idempotency_key_reused", 422),
            ("name_busy", 423),
            ("tenant_limit", 429),
            ("handler_trapped", 500),
            ("handler_out_of_memory", 500),
            ("handler_deadline", 504),
            ("lease_lost", 503),
            ("lock_unavailable", 503),
            ("names_unavailable", 503),
            ("tenant_unavailable", 503),
            ("overloaded", 503),
            ("internal", 500),
        ];
        let all: Vec<_> = ErrorKind::ALL
            .iter()
            .map(|kind| (kind.label(), kind.status().as_u16()))
            .collect();
        assert_eq!(all, table);
    }

    #[test]
    fn a_kind_is_its_own_index() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{}", kind.label());
        }
    }
}
