"""Names of rooms: the first to ask for a name has it until its lifetime ends.

It does what the handler `rooms` in Rust does: it brings the name into its canonical form, takes the lock on it, looks
whether it is taken, and saves it. The owner of a room may prolong it, hand it over and change its attributes; nobody
else may.

Its settings, in the table `[settings]` of the tenant's `tenant.toml`:

- `wait_ms`: how long to wait for the lock while another call holds it; left out: it tries once.
- `default_lifetime_ms`: how long a room lasts if the caller does not say; left out: a day.
"""

import namelock
from namelock import Forbidden, Missing, Registration, Request, Taken, UpdateRequest, acquire, find, setting_ms
from room_name import canonical_name

A_DAY_MS = 24 * 60 * 60 * 1000


class Rooms(namelock.Updates):
    def register(self, request: Request) -> Registration:
        name = canonical_name(request.name)
        lifetime_ms = request.lifetime_ms if request.lifetime_ms is not None else default_lifetime_ms()
        # The lock is released when this block ends, however it ends. Looking first only spares the database a write:
        # that the name has one owner does not depend on it, because `save` raises `Taken` too.
        with acquire(name, wait_ms()) as lease:
            if find(name):
                raise Taken()
            return lease.save(request.owner, lifetime_ms, request.attributes)

    def free(self, name: str, owner: str) -> None:
        name = canonical_name(name)
        # Under the lock, the owner found here is still the owner when the room is freed.
        with acquire(name, wait_ms()) as lease:
            if room := find(name):
                check_owner(room, owner)
                lease.free()

    def update(self, request: UpdateRequest) -> Registration:
        name = canonical_name(request.name)
        with acquire(name, wait_ms()) as lease:
            room = find(name)
            if room is None:
                raise Missing()
            check_owner(room, request.owner)
            changed = lease.update(request.change)
            if changed is None:  # It may end between the two.
                raise Missing()
            return changed


def check_owner(room: Registration, owner: str) -> None:
    if room.owner != owner:
        raise Forbidden("the room belongs to somebody else")


def wait_ms() -> int:
    wait = setting_ms("wait_ms")
    return 0 if wait is None else wait


def default_lifetime_ms() -> int:
    lifetime = setting_ms("default_lifetime_ms")
    return A_DAY_MS if lifetime is None else lifetime


Handler = namelock.export(Rooms)
Updates = namelock.export_updates(Rooms)
