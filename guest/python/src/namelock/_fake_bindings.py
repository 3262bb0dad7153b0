"""What componentize-py makes of `wit/`, answered by the fake host that is in use.

It has the same names and the same shapes, frozen `Err` included; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from namelock.fake.host import Host

_hosts: list[Host] = []


def enter(host: Host) -> None:
    """Lets `host` answer, until `leave`."""
    _hosts.append(host)


def leave() -> None:
    """Lets the host answer that did before."""
    _hosts.pop()


def _host() -> Host:
    if not _hosts:
        raise RuntimeError(
            "no host answers here: call the handler by namelock.fake.Host().register(...), or inside "
            "`with namelock.fake.Host():`"
        )
    return _hosts[-1]


@dataclass(frozen=True)
class Err(Exception):
    value: Any


class locks:
    @dataclass
    class AcquireError_Busy:
        value: int

    @dataclass
    class AcquireError_Unavailable:
        value: str

    @dataclass
    class AcquireError_Limit:
        value: str

    @dataclass
    class AcquireError_InvalidName:
        value: str

    class Lost(Enum):
        GONE = 0
        UNKNOWN = 1

    class Lease:
        def __init__(self, host: Host, name: str) -> None:
            self.host = host
            self.locked = name

        def name(self) -> str:
            return self.locked

        def fencing_token(self) -> int:
            return self.host.held(self).fencing_token

        def remaining_ms(self) -> int:
            return self.host.remaining_ms(self)

        def renew(self) -> None:
            self.host.renew(self)

        def __enter__(self) -> locks.Lease:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> bool | None:
            self.host.drop(self)
            return None

    @staticmethod
    def acquire(name: str, wait_ms: int) -> locks.Lease:
        return _host().acquire([name], wait_ms)[0]

    @staticmethod
    def acquire_all(names: list[str], wait_ms: int) -> list[locks.Lease]:
        return _host().acquire_all(names, wait_ms)

    @staticmethod
    def release(lease: locks.Lease) -> None:
        lease.host.release(lease)


class names:
    @dataclass
    class Registration:
        name: str
        owner: str
        created_ms: int
        expires_ms: int | None
        fencing_token: int
        attributes: list[tuple[str, str]]

    @dataclass
    class NamesError_Unavailable:
        value: str

    @dataclass
    class NamesError_Invalid:
        value: str

    @dataclass
    class SaveError_Taken:
        value: names.Registration

    @dataclass
    class SaveError_LeaseLost:
        pass

    @dataclass
    class SaveError_Unavailable:
        value: str

    @dataclass
    class SaveError_Invalid:
        value: str

    @dataclass
    class Lifetime_Endless:
        pass

    @dataclass
    class Lifetime_FromNowMs:
        value: int

    @dataclass
    class Change:
        owner: str | None
        lifetime: names.Lifetime_Endless | names.Lifetime_FromNowMs | None
        attributes: list[tuple[str, str]] | None

    @dataclass
    class New:
        owner: str
        lifetime_ms: int | None
        attributes: list[tuple[str, str]]

    @dataclass
    class Action_Save:
        value: names.New

    @dataclass
    class Action_Update:
        value: names.Change

    @dataclass
    class Action_Free:
        pass

    @dataclass
    class Write:
        lease: locks.Lease
        action: names.Action_Save | names.Action_Update | names.Action_Free

    @dataclass
    class Query:
        prefix: str
        owner: str | None
        after: str | None
        limit: int

    @dataclass
    class Page:
        registrations: list[names.Registration]
        next: str | None

    @staticmethod
    def find(name: str) -> names.Registration | None:
        return _host().find_name(name)

    @staticmethod
    def save(
        lease: locks.Lease, owner: str, lifetime_ms: int | None, attributes: list[tuple[str, str]]
    ) -> names.Registration:
        new = names.New(owner, lifetime_ms, attributes)
        saved = lease.host.write([names.Write(lease, names.Action_Save(new))])[0]
        assert saved is not None
        return saved

    @staticmethod
    def free(lease: locks.Lease) -> bool:
        return lease.host.free_or_update(lease, names.Action_Free())[0]

    @staticmethod
    def update(lease: locks.Lease, change: names.Change) -> names.Registration | None:
        return lease.host.free_or_update(lease, names.Action_Update(change))[1]

    @staticmethod
    def apply(writes: list[names.Write]) -> list[names.Registration | None]:
        return _host().write(writes)

    @staticmethod
    def list(query: names.Query) -> names.Page:
        return _host().list_page(query)


class store:
    @dataclass
    class Error_Upstream:
        value: str

    @dataclass
    class Error_Io:
        value: str

    @staticmethod
    def get(key: str) -> str | None:
        return _host().setting(key)

    @staticmethod
    def get_all() -> list[tuple[str, str]]:
        return list(_host().settings.items())


class handler:
    @dataclass
    class Request:
        name: str
        owner: str
        lifetime_ms: int | None
        attributes: list[tuple[str, str]]

    @dataclass
    class Rejection_Invalid:
        value: str

    @dataclass
    class Rejection_Taken:
        pass

    @dataclass
    class Rejection_Busy:
        value: int

    @dataclass
    class Rejection_Forbidden:
        value: str

    @dataclass
    class Rejection_Unavailable:
        value: str


class updates:
    @dataclass
    class Request:
        name: str
        owner: str
        change: names.Change

    @dataclass
    class Rejection_Invalid:
        value: str

    @dataclass
    class Rejection_Missing:
        pass

    @dataclass
    class Rejection_Busy:
        value: int

    @dataclass
    class Rejection_Forbidden:
        value: str

    @dataclass
    class Rejection_Unavailable:
        value: str
