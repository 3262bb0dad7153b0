"""A registration, as the host gives it and takes it back."""

from __future__ import annotations

from dataclasses import dataclass

from namelock._bindings import names


@dataclass(frozen=True, slots=True)
class Registration:
    """A name that has an owner, for a time."""

    name: str
    """The name, exactly as it was locked and saved."""
    owner: str
    """Who has the name, 1 to 255 bytes of UTF-8."""
    created_ms: int
    """When it was saved, in milliseconds since 1970-01-01 UTC by the database's clock."""
    expires_ms: int | None
    """When it ends, on the same clock; None: it does not end by itself. At this instant the name is free again."""
    fencing_token: int
    """The fencing token of the lease under which it was saved or last changed."""
    pairs: tuple[tuple[str, str], ...] = ()
    """What else was saved with it, as (key, value), in the order in which it was given."""

    @property
    def attributes(self) -> dict[str, str]:
        """What else was saved with it. Of a key that was saved twice, the first value counts."""
        attributes: dict[str, str] = {}
        for key, value in self.pairs:
            attributes.setdefault(key, value)
        return attributes

    @classmethod
    def from_wit(cls, found: names.Registration) -> Registration:
        """Makes it from what the host gave."""
        pairs = tuple((key, value) for key, value in found.attributes)
        return cls(found.name, found.owner, found.created_ms, found.expires_ms, found.fencing_token, pairs)

    def to_wit(self) -> names.Registration:
        """Returns it as the host gave it."""
        return names.Registration(
            self.name, self.owner, self.created_ms, self.expires_ms, self.fencing_token, list(self.pairs)
        )
