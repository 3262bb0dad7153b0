"""The bindings of the contract in `wit/`: those of componentize-py in a component, elsewhere those of the fake."""

import sys
from typing import TYPE_CHECKING, Any, Callable, NoReturn, ParamSpec, TypeVar

# Nothing else decides: bindings that were generated for an editor can be imported, but do nothing.
if TYPE_CHECKING or sys.platform == "wasi":
    from componentize_py_types import Err
    from wit_world.exports import handler
    from wit_world.imports import locks, names, store

    try:
        from wit_world.exports import updates
    except ImportError:  # The world `registrar` has no updates.
        updates = None  # type: ignore[assignment]
else:
    from namelock._fake_bindings import Err, handler, locks, names, store, updates

__all__ = ["Err", "ask", "handler", "locks", "names", "refuse", "store", "updates"]

P = ParamSpec("P")
T = TypeVar("T")


def ask(failure: Callable[[Any], Exception], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls the host, and raises what `failure` makes of its error.

    `Err` is a frozen dataclass, on which `contextlib` cannot set a traceback. So it never leaves this module.
    """
    try:
        return function(*args, **kwargs)
    except Err as error:
        value = error.value
    raise failure(value)


def refuse(value: Any) -> NoReturn:
    """Answers the host's call with an error."""
    raise Err(value) from None
