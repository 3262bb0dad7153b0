"""The SDK for registration handlers in Python: the lock on a name, the names, the tenant's settings.

A handler decides who gets which name. It is built into a WebAssembly component by componentize-py, and the host makes a
fresh instance of it for every request: nothing that one call leaves in memory is seen by the next.

    import namelock
    from namelock import Busy, Invalid, Registration, Request, name_lock

    class Codes(namelock.Handler):
        def register(self, request: Request) -> Registration:
            code = request.name.strip().upper()
            if len(code) < 4:
                raise Invalid("a code has at least four letters")
            # While this block runs, no other call on any machine works on the code.
            with name_lock(code) as lock:
                if lock:
                    return lock.save(request.owner, request.lifetime_ms, request.attributes)
            raise Busy(lock.retry_after_ms)

        def free(self, name: str, owner: str) -> None: ...

    Handler = namelock.export(Codes)

What to rely on:

- A lock that somebody else has is falsy, and knows when to try again. A lock that fails for another reason raises.
- A lock is released when its `with` block ends, however it ends; the host releases what is left when the call ends.
- Every failure is a `Rejection`: what a handler does not catch becomes the answer to the caller.
- Any other exception ends the call. Its traceback is in the tenant's log; the caller hears that the handler failed.
- The names database decides what is saved, not the lock: `Lease.save` raises `Taken`, whatever the lock said.

Outside a component, `namelock.fake` stands in for the host.
"""

from namelock._handler import Handler, Request, UpdateRequest, Updates, export, export_updates
from namelock._lease import Lease, Leases, Write, acquire, acquire_all, apply, name_lock, name_locks
from namelock._names import Change, Endless, FromNow, Lifetime, Page, find, list_names
from namelock._registration import Registration
from namelock._rejections import (
    Busy,
    Forbidden,
    Invalid,
    LeaseLimit,
    LeaseLost,
    LockUnavailable,
    Missing,
    NamesUnavailable,
    Rejection,
    SettingUnusable,
    Taken,
    Unavailable,
)
from namelock._settings import setting, setting_ms, setting_parsed

__all__ = [
    "Busy",
    "Change",
    "Endless",
    "Forbidden",
    "FromNow",
    "Handler",
    "Invalid",
    "Lease",
    "LeaseLimit",
    "LeaseLost",
    "Leases",
    "Lifetime",
    "LockUnavailable",
    "Missing",
    "NamesUnavailable",
    "Page",
    "Registration",
    "Rejection",
    "Request",
    "SettingUnusable",
    "Taken",
    "Unavailable",
    "UpdateRequest",
    "Updates",
    "Write",
    "acquire",
    "acquire_all",
    "apply",
    "export",
    "export_updates",
    "find",
    "list_names",
    "name_lock",
    "name_locks",
    "setting",
    "setting_ms",
    "setting_parsed",
]
