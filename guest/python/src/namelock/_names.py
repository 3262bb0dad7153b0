"""The tenant's registrations: find and list, and how they can be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, TypeAlias

from namelock._bindings import ask, names
from namelock._numbers import U64_MAX, whole
from namelock._registration import Registration
from namelock._rejections import of_names

@dataclass(frozen=True, slots=True)
class Endless:
    """The registration does not end by itself."""


@dataclass(frozen=True, slots=True)
class FromNow:
    """The registration ends this many milliseconds after the change, 1 ms to 100 years."""

    ms: int


Lifetime: TypeAlias = Endless | FromNow


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a registration; what is None stays as it is."""

    owner: str | None = None
    """Who is to have the name, 1 to 255 bytes of UTF-8."""
    lifetime: Lifetime | None = None
    """When it is to end."""
    attributes: Mapping[str, str] | None = None
    """All of its attributes, in the place of those that it has."""

    @classmethod
    def from_wit(cls, change: names.Change) -> Change:
        """Makes it from what the host gave."""
        lifetime: Lifetime | None = None
        if isinstance(change.lifetime, names.Lifetime_FromNowMs):
            lifetime = FromNow(change.lifetime.value)
        elif change.lifetime is not None:
            lifetime = Endless()
        return cls(change.owner, lifetime, None if change.attributes is None else dict(change.attributes))

    def to_wit(self) -> names.Change:
        """Returns it as the host takes it."""
        lifetime: names.Lifetime | None = None
        if isinstance(self.lifetime, FromNow):
            lifetime = names.Lifetime_FromNowMs(whole("FromNow.ms", self.lifetime.ms, U64_MAX))
        elif self.lifetime is not None:
            lifetime = names.Lifetime_Endless()
        return names.Change(self.owner, lifetime, None if self.attributes is None else list(self.attributes.items()))


@dataclass(frozen=True, slots=True)
class Page:
    """Some registrations, in the order of their names' bytes."""

    registrations: tuple[Registration, ...]
    """There may be fewer than the limit, even none, where others follow."""
    next: str | None
    """Behind which name the next page begins; None: this is the last page."""


def find(name: str) -> Registration | None:
    """Finds the active registration of `name`. This needs no lease.

    Raises `NamesUnavailable` if the database does not answer, and `Invalid` if `name` is not 1 to 255 bytes long.
    """
    found = ask(of_names, names.find, name)
    return None if found is None else Registration.from_wit(found)


def list_names(prefix: str = "", owner: str | None = None, after: str | None = None, limit: int = 100) -> Page:
    """Lists active registrations, page by page. This needs no lease.

    `prefix`: those whose name begins with this, byte for byte. `owner`: those of this owner; None: of every owner.
    `after`: those behind this name, which is `next` of the page before. `limit`: how many at most, 1 to 1000.

    A handler cannot return a registration that it has only from here: `find` it. Raises as `find` does.
    """
    page = ask(of_names, names.list, names.Query(prefix, owner, after, whole("limit", limit, 2**32 - 1)))
    return Page(tuple(map(Registration.from_wit, page.registrations)), page.next)
