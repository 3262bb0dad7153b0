"""The tenant's settings: the table `[settings]` of its `tenant.toml`."""

from __future__ import annotations

import sys
from typing import Callable, TypeVar

from namelock._bindings import ask, store
from namelock._numbers import U64_MAX
from namelock._rejections import Rejection, SettingUnusable

T = TypeVar("T")


def setting(key: str) -> str | None:
    """Returns the setting `key` as text, or None if it is not set.

    Raises `SettingUnusable` if the host could not read it. This differs from "not set", so that a handler does not go
    on with a default that the tenant has overridden.
    """

    def failure(error: store.Error) -> Rejection:
        return SettingUnusable(key, error.value)

    return ask(failure, store.get, key)


def setting_parsed(key: str, parse: Callable[[str], T]) -> T | None:
    """Returns what `parse` makes of the setting `key`, or None if it is not set.

    A `ValueError` of `parse` becomes `SettingUnusable`, and is written to the tenant's log with the value. So read a
    secret with `setting` instead.
    """
    value = setting(key)
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        reason = str(error)
    line = f"cannot use {value!r} as the setting `{key}`: {reason}"
    print(" ".join(line.splitlines()), file=sys.stderr)
    raise SettingUnusable(key, reason)


def setting_ms(key: str) -> int | None:
    """Returns the setting `key` as a number of milliseconds, or None if it is not set. Raises as `setting_parsed`."""
    return setting_parsed(key, _milliseconds)


def _milliseconds(text: str) -> int:
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or (number := int(digits)) > U64_MAX:
        raise ValueError(f"give a whole number of milliseconds, 0 to {U64_MAX}")
    return number
