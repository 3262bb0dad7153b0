"""Why a request is refused: exceptions, each of which is an answer to the caller.

What fails in the host is a rejection too, of a class of its own where a handler may want to tell it apart. So nothing
has to be caught for the caller to get the answer that fits.
"""

from __future__ import annotations

from typing import Any

from namelock._bindings import handler, locks, names, updates
from namelock._registration import Registration


class Rejection(Exception):
    """Why a request is refused. `text` is shown to the caller."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Invalid(Rejection):
    """The name, or what else was asked for, is not valid here. HTTP 422 `name_invalid`."""


class Taken(Rejection):
    """The name has an active registration, or is held for its last owner. HTTP 409 `name_taken`.

    `registration` is the one that is in the way, if the database said so. In `update`, where no name is taken, the
    caller hears `forbidden`.
    """

    def __init__(self, registration: Registration | None = None) -> None:
        super().__init__("the name is taken")
        self.registration = registration


class Missing(Rejection):
    """The name has no active registration. HTTP 404 `not_found` in `update`; elsewhere `name_invalid`."""

    def __init__(self) -> None:
        super().__init__("the name has no active registration")


class Busy(Rejection):
    """Another call works on the name: try again after `retry_after_ms`. HTTP 423 `name_busy`."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"another call is working on the name; try again in {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms


class Forbidden(Rejection):
    """The caller may not do this. HTTP 403 `forbidden`."""


class Unavailable(Rejection):
    """It cannot be done now. The code follows from what last failed in this call; if nothing did: `tenant_unavailable`.

    `reason` is for the tenant's log: the caller does not see it.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.text}: {self.reason}" if self.reason else self.text


class LockUnavailable(Unavailable):
    """The lock service does not answer, or cannot grant a lease safely now."""

    def __init__(self, reason: str) -> None:
        super().__init__("the lock service cannot grant", reason)


class LeaseLimit(Unavailable):
    """This call holds as many leases as it may; the text states the limit."""


class LeaseLost(Unavailable):
    """The lease is no longer held, or lasts no longer than a write may take, or that is unknown."""

    def __init__(self, reason: str = "") -> None:
        super().__init__("the lease on the name was lost", reason)


class NamesUnavailable(Unavailable):
    """The names database does not answer, or the tenant is at a limit. A write may or may not have been done."""


class SettingUnusable(Unavailable):
    """A setting could not be read, or does not have the expected form. The caller does not hear its value."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the setting `{key}` of this handler cannot be used", reason)
        self.key = key


def of_acquire(error: locks.AcquireError) -> Rejection:
    """Returns why a lease was not granted."""
    match error:
        case locks.AcquireError_Busy(ms):
            return Busy(ms)
        case locks.AcquireError_Unavailable(reason):
            return LockUnavailable(reason)
        case locks.AcquireError_Limit(reason):
            return LeaseLimit(reason)
        case locks.AcquireError_InvalidName(reason):
            return Invalid(reason)


def of_lost(error: locks.Lost) -> Rejection:
    """Returns why a lease is no longer held."""
    if error == locks.Lost.GONE:
        return LeaseLost("it has expired, or the lock service has lost it")
    return LeaseLost("the lock service did not answer, so it may or may not still be held")


def of_names(error: names.NamesError) -> Rejection:
    """Returns why the names could not be read."""
    match error:
        case names.NamesError_Unavailable(reason):
            return NamesUnavailable("the names database does not answer", reason)
        case names.NamesError_Invalid(reason):
            return Invalid(reason)


def of_save(error: names.SaveError) -> Rejection:
    """Returns why nothing was written, or why it is unknown whether something was."""
    match error:
        case names.SaveError_Taken(registration):
            return Taken(Registration.from_wit(registration))
        case names.SaveError_LeaseLost():
            return LeaseLost()
        case names.SaveError_Unavailable(reason):
            text = "the names database does not answer; the write may or may not have been done"
            return NamesUnavailable(text, reason)
        case names.SaveError_Invalid(reason):
            return Invalid(reason)


def for_handler(rejection: Rejection) -> Any:
    """Returns the `rejection` of the interface `handler`."""
    match rejection:
        case Taken():
            return handler.Rejection_Taken()
        case Missing():
            return handler.Rejection_Invalid(rejection.text)
    return _in_either(rejection, handler)


def for_updates(rejection: Rejection) -> Any:
    """Returns the `rejection` of the interface `updates`."""
    match rejection:
        case Missing():
            return updates.Rejection_Missing()
        case Taken():
            return updates.Rejection_Forbidden(rejection.text)
    return _in_either(rejection, updates)


def _in_either(rejection: Rejection, interface: Any) -> Any:
    match rejection:
        case Busy():
            return interface.Rejection_Busy(rejection.retry_after_ms)
        case Invalid():
            return interface.Rejection_Invalid(rejection.text)
        case Forbidden():
            return interface.Rejection_Forbidden(rejection.text)
    # A tenant's own class of rejections, too.
    return interface.Rejection_Unavailable(rejection.text)
