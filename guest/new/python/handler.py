"""Campaign codes: the first to ask for a code has it until it ends, or until its owner frees it."""

import namelock
from namelock import Forbidden, Invalid, Registration, Request, Taken, acquire, find, setting_ms

A_DAY_MS = 24 * 60 * 60 * 1000


class Codes(namelock.Handler):
    def register(self, request: Request) -> Registration:
        code = canonical(request.name)
        lifetime_ms = default_lifetime_ms() if request.lifetime_ms is None else request.lifetime_ms
        # While this block runs, nobody else works on the code, on any machine.
        with acquire(code, wait_ms()) as lock:
            if find(code):
                raise Taken()
            return lock.save(request.owner, lifetime_ms, request.attributes)

    def free(self, name: str, owner: str) -> None:
        code = canonical(name)
        with acquire(code, wait_ms()) as lock:
            if found := find(code):
                if found.owner != owner:
                    raise Forbidden("the code belongs to somebody else")
                lock.free()


def canonical(text: str) -> str:
    """Returns the one form of a code that is locked and saved, however it was written."""
    code = text.strip(" ")
    if not (4 <= len(code) <= 12 and code.isascii() and code.isalnum()):
        raise Invalid("a code has 4 to 12 letters and digits")
    return code.upper()


def wait_ms() -> int:
    return setting_ms("wait_ms") or 0


def default_lifetime_ms() -> int:
    lifetime_ms = setting_ms("default_lifetime_ms")
    return A_DAY_MS if lifetime_ms is None else lifetime_ms


Handler = namelock.export(Codes)
