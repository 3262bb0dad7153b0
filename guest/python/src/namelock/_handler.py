"""What a handler implements, its requests, and how it is exported from the component."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Mapping

from namelock import _rejections
from namelock._bindings import handler as wit_handler
from namelock._bindings import names, refuse
from namelock._bindings import updates as wit_updates
from namelock._names import Change
from namelock._registration import Registration
from namelock._rejections import Rejection


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asked for, unchanged: the name is not trimmed or case-folded, and only its length is checked."""

    name: str
    """The name, 1 to 255 bytes of UTF-8."""
    owner: str
    """Who is to have it, 1 to 255 bytes of UTF-8. The host does not check that the caller is this owner."""
    lifetime_ms: int | None = None
    """How long the caller wishes to have the name; None: the handler decides."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What else the caller sent."""


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """A change that a caller asked for; only lengths are checked."""

    name: str
    """The name, 1 to 255 bytes of UTF-8."""
    owner: str
    """Who asks, 1 to 255 bytes of UTF-8. The host does not check that the caller is this owner."""
    change: Change
    """What is to become of the registration."""


class Handler(ABC):
    """A tenant's registration logic. `export` exports it from the component.

    A `Rejection` that a method raises, or lets through, is the answer to the caller. Any other exception ends the call:
    its traceback is written to the tenant's log, and the caller hears that the handler failed.
    """

    @abstractmethod
    def register(self, request: Request) -> Registration:
        """Registers a name.

        The result is one of the last 16 registrations that `find`, `Lease.save`, `Lease.update` and `apply` returned in
        this call; any other ends the call. If the request has an idempotency key, that goes with the first registration
        that is saved or changed: save first what is returned.
        """

    @abstractmethod
    def free(self, name: str, owner: str) -> None:
        """Frees the name that `owner` has. Freeing a name that has no active registration is not an error."""


class Updates(Handler):
    """A handler that lets registrations be changed, by `PATCH` in HTTP. `export_updates` exports that."""

    @abstractmethod
    def update(self, request: UpdateRequest) -> Registration:
        """Prolongs, hands over or otherwise changes the registration of a name. The result is as that of `register`."""


def export(handler: type[Handler]) -> type[Any]:
    """Returns the class that componentize-py looks for under the name `Handler` in the module of the component:

        Handler = namelock.export(Rooms)
    """

    class Exported:
        def register(self, request: wit_handler.Request) -> names.Registration:
            try:
                made = handler().register(
                    Request(request.name, request.owner, request.lifetime_ms, dict(request.attributes))
                )
            except Rejection as rejection:
                refuse(_rejections.for_handler(rejection))
            return _result(handler, "register", made)

        def free(self, name: str, owner: str) -> None:
            try:
                handler().free(name, owner)
            except Rejection as rejection:
                refuse(_rejections.for_handler(rejection))

    return Exported


def export_updates(handler: type[Updates]) -> type[Any]:
    """Returns the class that componentize-py looks for under the name `Updates`, if the world is
    `registrar-with-updates`:

        Updates = namelock.export_updates(Rooms)
    """

    class Exported:
        def update(self, request: wit_updates.Request) -> names.Registration:
            try:
                made = handler().update(UpdateRequest(request.name, request.owner, Change.from_wit(request.change)))
            except Rejection as rejection:
                refuse(_rejections.for_updates(rejection))
            return _result(handler, "update", made)

    return Exported


def _result(handler: type[Handler], method: str, made: object) -> names.Registration:
    if not isinstance(made, Registration):
        raise TypeError(
            f"{handler.__name__}.{method} returned {made!r}: return the registration that save, update, apply or find "
            "gave"
        )
    return made.to_wit()
