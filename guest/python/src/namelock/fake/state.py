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
