"""The lock on a name: acquire, write, renew, release."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Iterable, Iterator, Mapping, Sequence, overload

from namelock._bindings import ask, locks, names
from namelock._names import Change
from namelock._numbers import U32_MAX, U64_MAX, whole
from namelock._registration import Registration
from namelock._rejections import Busy, of_acquire, of_lost, of_save


class Lease:
    """The right to one name until a deadline, or the answer that somebody else has it.

    It is true if the name was granted, and false if it was busy; then `retry_after_ms` says when to try again, and any
    use of it raises `Busy`. It is released at the end of its `with` block, however that ends. If a lease is lost while
    a call holds it, the host ends the call at once.
    """

    def __init__(self, name: str, lease: locks.Lease | None, retry_after_ms: int = 0) -> None:
        self.name = name
        """The name, exactly as it was asked for."""
        self.retry_after_ms = retry_after_ms
        """If the name was busy: how long to wait at least before trying again. Else 0."""
        self.saved: Registration | None = None
        """What was last saved or changed by this lease; it stays when the lease is released."""
        self._granted = lease is not None
        self._lease = lease

    def __bool__(self) -> bool:
        return self._granted

    def __repr__(self) -> str:
        state = "held" if self._lease else "released" if self._granted else f"busy for {self.retry_after_ms} ms"
        return f"<Lease on {self.name!r}, {state}>"

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.__exit__(None, None, None)

    @property
    def held(self) -> locks.Lease:
        """The lease of the host. Raises `Busy` if the name was busy."""
        if self._lease is None:
            if not self._granted:
                raise Busy(self.retry_after_ms)
            raise RuntimeError(f"the lease on {self.name!r} was used after its release: use it inside its `with` block")
        return self._lease

    @property
    def fencing_token(self) -> int:
        """A number that grows with every grant of this name."""
        return self.held.fencing_token()

    def remaining_ms(self) -> int:
        """Returns for how many more milliseconds the lease is certain to last; 0 once it is lost."""
        return self.held.remaining_ms()

    def renew(self) -> None:
        """Makes the lease last its full time again (10 s), never beyond a minute after it was acquired.

        Raises `LeaseLost` if it is no longer held, or if that is unknown.
        """
        ask(of_lost, self.held.renew)

    def release(self) -> None:
        """Releases the lease before its block ends. Raises `LeaseLost` if it was lost before, or if that is unknown."""
        lease, self._lease = self.held, None
        ask(of_lost, locks.release, lease)

    def save(
        self, owner: str, lifetime_ms: int | None = None, attributes: Mapping[str, str] | None = None
    ) -> Registration:
        """Saves a registration of this lease's name. It begins now and lasts `lifetime_ms`; None: without end.

        It is durable when this returns. Raises `Taken` if the name has an active registration, as the database decides
        in the transaction that writes, and `LeaseLost`, `NamesUnavailable` or `Invalid`.
        """
        lifetime_ms = _lifetime(lifetime_ms)
        saved = ask(of_save, names.save, self.held, owner, lifetime_ms, list((attributes or {}).items()))
        self.saved = Registration.from_wit(saved)
        return self.saved

    def update(self, change: Change) -> Registration | None:
        """Changes the active registration of this lease's name, and returns it as it is then; None: there is none.

        Its `created_ms` stays; its fencing token is that of this lease. Whether the caller may make the change is for
        the handler to check. Raises as `save` does; `Taken` only if the request of this call has succeeded before.
        """
        changed = ask(of_save, names.update, self.held, change.to_wit())
        if changed is None:
            return None
        self.saved = Registration.from_wit(changed)
        return self.saved

    def free(self) -> bool:
        """Ends the active registration of this lease's name, now. Returns whether there was one.

        Whether the caller may end it is for the handler to check. Raises as `save` does, but never `Taken`.
        """
        return ask(of_save, names.free, self.held)


class Leases(Sequence[Lease]):
    """The leases on several names, in the order of the names; none, and so false, if a name was busy.

    All are released at the end of the `with` block, however it ends.
    """

    def __init__(self, leases: Sequence[Lease], retry_after_ms: int = 0) -> None:
        self.retry_after_ms = retry_after_ms
        """If a name was busy: how long to wait at least before trying again. Else 0."""
        self._leases = tuple(leases)

    @overload
    def __getitem__(self, index: int) -> Lease: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Lease]: ...
    def __getitem__(self, index: int | slice) -> Lease | Sequence[Lease]:
        return self._leases[index]

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases)

    def __enter__(self) -> Leases:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for lease in reversed(self._leases):
            lease.__exit__(kind, error, traceback)


def acquire(name: str, wait_ms: int = 0) -> Lease:
    """Acquires the lease on `name`, as `name_lock` does, and raises `Busy` if somebody else has it."""
    name_lease = ask(of_acquire, locks.acquire, name, _wait(wait_ms))
    return Lease(name, name_lease)


def acquire_all(names: Iterable[str], wait_ms: int = 0) -> Leases:
    """Acquires the leases on all of `names`, as `name_locks` does, and raises `Busy` if somebody else has one."""
    wanted = list(names)
    leases = ask(of_acquire, locks.acquire_all, wanted, _wait(wait_ms))
    return Leases([Lease(name, lease) for name, lease in zip(wanted, leases, strict=True)])


def name_lock(name: str, wait_ms: int = 0) -> Lease:
    """Locks `name` for the length of a `with` block, in which no other call on any machine works on it.

        with name_lock(name) as lock:
            if lock and name_is_valid(name):
                save_name(name)

    `name` is 1 to 255 bytes of UTF-8, and is locked byte for byte. `wait_ms` is how long to try while another call has
    it; 0 tries once. The host has a limit of its own, and the wait counts towards the wall time of the call.

    A busy name, also one that this call has locked already, gives a lock that is false. Everything else raises:
    `LockUnavailable`, `LeaseLimit`, `Invalid`.
    """
    try:
        return acquire(name, wait_ms)
    except Busy as busy:
        return Lease(name, None, busy.retry_after_ms)


def name_locks(names: Iterable[str], wait_ms: int = 0) -> Leases:
    """Locks all of `names` for the length of a `with` block, or none of them.

        with name_locks([old, new]) as leases:
            if leases:
                old_lease, new_lease = leases

    The host takes them in an order of its own, so calls that lock all of their names at once never wait for each other
    in a circle. `apply` writes under them together. No name at all, a name that is given twice, and one that this call
    holds already are `Invalid`; everything else is as with `name_lock`.
    """
    try:
        return acquire_all(names, wait_ms)
    except Busy as busy:
        return Leases([], busy.retry_after_ms)


@dataclass(frozen=True, slots=True)
class Write:
    """One of several writes that are done together, by `apply`."""

    lease: Lease
    action: names.Action

    @classmethod
    def save(
        cls, lease: Lease, owner: str, lifetime_ms: int | None = None, attributes: Mapping[str, str] | None = None
    ) -> Write:
        """Saves a registration, as `Lease.save` does."""
        new = names.New(owner, _lifetime(lifetime_ms), list((attributes or {}).items()))
        return cls(lease, names.Action_Save(new))

    @classmethod
    def update(cls, lease: Lease, change: Change) -> Write:
        """Changes the active registration, as `Lease.update` does."""
        return cls(lease, names.Action_Update(change.to_wit()))

    @classmethod
    def free(cls, lease: Lease) -> Write:
        """Ends the active registration, as `Lease.free` does."""
        return cls(lease, names.Action_Free())


def apply(writes: Iterable[Write]) -> list[Registration | None]:
    """Does several writes in one transaction, all of them or none, each under a lease of its own.

    Returns, in the order of the writes, the registration that was saved or changed; None for one that frees. There are
    at most as many as a call may hold leases, at most 16, and no two for one name. Raises what prevented all of them,
    as `Lease.save` does; to change or to free a name that has no active registration is `Invalid`.
    """
    given = list(writes)
    done = ask(of_save, names.apply, [names.Write(write.lease.held, write.action) for write in given])
    results: list[Registration | None] = []
    for write, written in zip(given, done, strict=True):
        result = None if written is None else Registration.from_wit(written)
        if result is not None:
            write.lease.saved = result
        results.append(result)
    return results


def _lifetime(lifetime_ms: int | None) -> int | None:
    return None if lifetime_ms is None else whole("lifetime_ms", lifetime_ms, U64_MAX)


def _wait(wait_ms: int) -> int:
    # The contract carries it in 32 bits, which is 49 days: more than any host waits.
    return min(whole("wait_ms", wait_ms, U64_MAX), U32_MAX)
