"""What the fake host keeps of locks and names, and the rules that it shares with the real one."""

from __future__ import annotations

from dataclasses import dataclass

from namelock._fake_bindings import Err, locks, names

LEASE_MS = 10_000
"""How long a lease lasts: the host's `lock.lease`."""
HOLD_MAX_MS = 60_000
"""How long a lease can be renewed: the host's `lock.max_hold`."""
WRITE_MS = 2_000
"""How long a write may take: a lease that lasts no longer is not written under."""
LIFETIME_MAX_MS = 100 * 366 * 24 * 60 * 60 * 1000
"""The longest lifetime, 100 years."""
WRITES_AT_ONCE = 16
"""How many writes `apply` does at most, whatever the limit of leases is."""
GIVEN = 16
"""Of how many registrations the host remembers that it gave them to a call."""
ATTRIBUTES = 32
"""How many attributes a registration has at most: the host's `limits.attributes`."""
ATTRIBUTE_BYTES = 4096
"""How many bytes they have together at most: the host's `limits.attribute_bytes`."""


@dataclass
class Held:
    """A lease that the running call holds."""

    fencing_token: int
    acquired_ms: int
    until_ms: int
    has_read: bool = False
    """Whether the call has read its name since it holds it. If not, it writes whatever there is."""
    seen: int | None = None
    """The fencing token of the registration that it has read then; `None`: that there is none."""

    def saw(self, found: names.Registration | None) -> None:
        """Notes what the call has been told of its name."""
        self.has_read, self.seen = True, None if found is None else found.fencing_token

    def must_leave(self, found: names.Registration) -> bool:
        """Says whether a newer lease has written this registration, or another one since the call has read it."""
        is_as_seen = not self.has_read or self.seen == found.fencing_token
        is_own = found.fencing_token == self.fencing_token
        return found.fencing_token > self.fencing_token or not (is_own or is_as_seen)


@dataclass
class Row:
    """The last registration of a name, which may have ended."""

    registration: names.Registration
    held_until_ms: int

    def is_active(self, now_ms: int) -> bool:
        ends = self.registration.expires_ms
        return ends is None or now_ms < ends


def too_long(text: str) -> bool:
    """Says whether a name or an owner is not 1 to 255 bytes long."""
    return not 1 <= len(text.encode()) <= 255


def invalid(reason: str) -> Err:
    """Returns why nothing was written."""
    return Err(names.SaveError_Invalid(reason))


def invalid_name(reason: str) -> Err:
    """Returns why a name cannot be locked."""
    return Err(locks.AcquireError_InvalidName(reason))


def check_action(action: names.Action_Save | names.Action_Update | names.Action_Free) -> None:
    """Checks what a write says, whatever is registered."""
    match action:
        case names.Action_Save(new):
            check_owner(new.owner)
            check_lifetime(new.lifetime_ms)
            check_attributes(new.attributes)
        case names.Action_Update(change):
            if change.owner is not None:
                check_owner(change.owner)
            if isinstance(change.lifetime, names.Lifetime_FromNowMs):
                check_lifetime(change.lifetime.value)
            check_attributes(change.attributes or [])


def check_owner(owner: str) -> None:
    if too_long(owner):
        raise invalid(f"an owner is 1 to 255 bytes long, and not {len(owner.encode())}")


def check_lifetime(lifetime_ms: int | None) -> None:
    if lifetime_ms is not None and not 1 <= lifetime_ms <= LIFETIME_MAX_MS:
        raise invalid("a lifetime is at least 1 ms and at most 100 years")


def check_attributes(attributes: list[tuple[str, str]]) -> None:
    if len(attributes) > ATTRIBUTES:
        raise invalid(f"there are at most {ATTRIBUTES} attributes")
    if sum(len(key.encode()) + len(value.encode()) for key, value in attributes) > ATTRIBUTE_BYTES:
        raise invalid(f"all attributes together are at most {ATTRIBUTE_BYTES} bytes long")
