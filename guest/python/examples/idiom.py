"""The idiom with which namelock began, as a handler: the lock on a name, in three lines of Python."""

import namelock
from namelock import Busy, Forbidden, Invalid, Registration, Request, find, name_lock


def name_is_valid(name: str) -> bool:
    return name.isalnum()


class Idiom(namelock.Handler):
    def register(self, request: Request) -> Registration:
        name = request.name

        def save_name(name: str) -> None:
            lock.save(request.owner, request.lifetime_ms, request.attributes)

        with name_lock(name) as lock:
            if lock and name_is_valid(name):
                save_name(name)

        if lock.saved:
            return lock.saved
        raise Invalid("a name has only letters and digits") if lock else Busy(lock.retry_after_ms)

    def free(self, name: str, owner: str) -> None:
        with namelock.acquire(name) as lock:
            found = find(name)
            if found and found.owner != owner:
                raise Forbidden("it is not yours")
            lock.free()


Handler = namelock.export(Idiom)
