"""The fake host: runs a handler as the host does, and answers it from memory."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import replace
from typing import Callable, Mapping, TypeVar

from namelock import _fake_bindings as bindings
from namelock import _rejections
from namelock._fake_bindings import Err, handler, locks, names, store, updates
from namelock._handler import Handler, Updates, export, export_updates
from namelock._names import Change
from namelock._registration import Registration
from namelock.fake.state import (
    GIVEN,
    HOLD_MAX_MS,
    LEASE_MS,
    WRITE_MS,
    WRITES_AT_ONCE,
    Held,
    Row,
    check_action,
    invalid,
    invalid_name,
    too_long,
)

T = TypeVar("T")


class Host:
    """One tenant of a host, with locks, names and settings in memory.

    `register`, `free` and `update` run a handler as the host does. Inside `with host:` the functions of this package,
    such as `find`, can be called without one.
    """

    def __init__(
        self, settings: Mapping[str, str | int | bool] | None = None, *, hold_ms: int = 0, leases: int = 8
    ) -> None:
        """`settings`, `hold_ms` and `leases` are those of the `tenant.toml`."""
        self.settings = {key: _as_text(value) for key, value in (settings or {}).items()}
        self.now_ms = 1_700_000_000_000
        """The clock of the host, of the lock service and of the database."""
        self.lock_down: str | None = None
        """If set: why the lock service does not answer."""
        self.names_down: str | None = None
        """If set: why the names database does not answer. Nothing is written then."""
        self.settings_down: str | None = None
        """If set: why settings cannot be read."""
        self._hold_ms = hold_ms
        self._leases_max = leases
        self._rows: dict[str, Row] = {}
        self._others: dict[str, int] = {}
        self._mine: dict[str, tuple[locks.Lease, Held]] = {}
        self._given: deque[names.Registration] = deque(maxlen=GIVEN)
        self._before_write: list[Callable[[], object]] = []
        self._token = 0

    # What a test does.

    def register(
        self,
        tenant: type[Handler],
        name: str,
        owner: str,
        lifetime_ms: int | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> Registration:
        """Runs `register` of a handler. Raises the rejection, or what else the handler raised."""
        request = handler.Request(name, owner, lifetime_ms, list((attributes or {}).items()))
        return self._given_one(self._call(lambda: export(tenant)().register(request)))

    def free(self, tenant: type[Handler], name: str, owner: str) -> None:
        """Runs `free` of a handler. Raises the rejection, or what else the handler raised."""
        self._call(lambda: export(tenant)().free(name, owner))

    def update(self, tenant: type[Updates], name: str, owner: str, change: Change) -> Registration:
        """Runs `update` of a handler. Raises the rejection, or what else the handler raised."""
        request = updates.Request(name, owner, _as_given(change))
        return self._given_one(self._call(lambda: export_updates(tenant)().update(request)))

    def find(self, name: str) -> Registration | None:
        """Returns the active registration of `name`."""
        row = self._active(name)
        return None if row is None else Registration.from_wit(row.registration)  # type: ignore[arg-type]

    def lock(self, name: str, for_ms: int = LEASE_MS) -> None:
        """Lets somebody else lock `name`. `for_ms` from now on it is released."""
        if self.is_locked(name):
            raise ValueError(f"{name!r} is locked already")
        self._others[name] = self.now_ms + for_ms

    def unlock(self, name: str) -> None:
        """Lets somebody else release the lock on `name`."""
        del self._others[name]

    def is_locked(self, name: str) -> bool:
        """Says whether somebody has locked `name`."""
        return self._busy_ms(name) > 0

    def advance(self, ms: int) -> None:
        """Moves the clock on."""
        self.now_ms += ms

    def lose_leases(self) -> None:
        """Lets the lock service lose the leases that the running call holds. The real host ends such a call at once."""
        for _, held in self._mine.values():
            held.until_ms = self.now_ms

    def before_next_write(self, event: Callable[[], object]) -> None:
        """Lets something happen just before the next write, such as what another call does after a handler's `find`."""
        self._before_write.append(event)

    def write_late(self, name: str, owner: str) -> Registration:
        """Lets a write come late: another call, whose lease ended before the running call got its own, gives the name
        to `owner`. It hands the registration over that there is, or makes one without end.

        What a handler has decided on the registration that it read before is then refused with `LeaseLost`.
        """
        if name not in self._mine:
            raise ValueError(f"no write of {name!r} can be late: the running call does not hold the lock on it")
        own = self._mine[name][1]
        late = replace(own, fencing_token=own.fencing_token - 1, has_read=False)
        action: names.Action_Save | names.Action_Update = names.Action_Save(names.New(owner, None, []))
        if self._active(name) is not None:
            action = names.Action_Update(names.Change(owner, None, None))
        try:
            check_action(action)
            self._rows[name] = self._written(name, late, action)
        except Err as refused:
            raise ValueError(f"this late write of {name!r} would be refused: {refused.value!r}") from None
        return Registration.from_wit(self._rows[name].registration)  # type: ignore[arg-type]

    def __enter__(self) -> Host:
        bindings.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        bindings.leave()
        self._mine.clear()

    def _call(self, call: Callable[[], T]) -> T:
        self._given.clear()
        with self:
            try:
                return call()
            except Err as error:
                refusal = error.value
        raise _rejection(refusal)

    def _given_one(self, made: names.Registration) -> Registration:
        if made not in self._given:
            raise AssertionError(
                f"the handler returned {made!r}, which is none of the last {GIVEN} registrations that save, update, "
                "apply and find gave to this call: the host would end the call"
            )
        return Registration.from_wit(made)  # type: ignore[arg-type]

    # What the bindings ask: locks.

    def acquire_all(self, wanted: list[str], wait_ms: int) -> list[locks.Lease]:
        if not wanted:
            raise invalid_name("there is no name to lock")
        for name in wanted:
            if wanted.count(name) > 1:
                raise invalid_name(f"the name {name!r} is given twice")
            if name in self._mine:
                raise invalid_name(f"this call holds the name {name!r} already")
        return self.acquire(wanted, wait_ms)

    def acquire(self, wanted: list[str], wait_ms: int) -> list[locks.Lease]:
        if any(too_long(name) for name in wanted):
            raise invalid_name("a name is 1 to 255 bytes long")
        if len(self._mine) + len(wanted) > self._leases_max:
            raise Err(locks.AcquireError_Limit(f"a call holds at most {self._leases_max} leases"))
        if self.lock_down is not None:
            raise Err(locks.AcquireError_Unavailable(self.lock_down))
        busy_ms = max(self._busy_ms(name) for name in wanted)
        self.now_ms += min(busy_ms, wait_ms)
        if busy_ms > wait_ms:
            raise Err(locks.AcquireError_Busy(busy_ms - wait_ms))
        return [self._grant(name) for name in wanted]

    def _busy_ms(self, name: str) -> int:
        mine = self._mine.get(name)
        until_ms = self._others.get(name, 0) if mine is None else mine[1].until_ms
        return max(0, until_ms - self.now_ms)

    def _grant(self, name: str) -> locks.Lease:
        # The one in between is given to nobody, so that another call can have had it.
        self._token += 2
        lease = locks.Lease(self, name)
        self._mine[name] = (lease, Held(self._token, self.now_ms, self.now_ms + LEASE_MS))
        return lease

    def held(self, lease: locks.Lease) -> Held:
        """Returns the state of a lease that has not been dropped."""
        held_by, held = self._mine.get(lease.locked, (None, None))
        if held_by is not lease or held is None:
            raise RuntimeError(f"the lease on {lease.locked!r} was dropped, or belongs to another call")
        return held

    def remaining_ms(self, lease: locks.Lease) -> int:
        return max(0, self.held(lease).until_ms - self.now_ms)

    def renew(self, lease: locks.Lease) -> None:
        held = self.held(lease)
        self._check_held(lease)
        held.until_ms = min(self.now_ms + LEASE_MS, held.acquired_ms + HOLD_MAX_MS)

    def release(self, lease: locks.Lease) -> None:
        try:
            self._check_held(lease)
        finally:
            self.drop(lease)

    def _check_held(self, lease: locks.Lease) -> None:
        if self.remaining_ms(lease) == 0:
            raise Err(locks.Lost.GONE)
        if self.lock_down is not None:
            raise Err(locks.Lost.UNKNOWN)

    def drop(self, lease: locks.Lease) -> None:
        self.held(lease)
        del self._mine[lease.locked]

    # What the bindings ask: names.

    def find_name(self, name: str) -> names.Registration | None:
        if self.names_down is not None:
            raise Err(names.NamesError_Unavailable(self.names_down))
        if too_long(name):
            raise Err(names.NamesError_Invalid("a name is 1 to 255 bytes long"))
        row = self._active(name)
        if row is not None:
            return self._give(row.registration)
        self._saw(name, None)
        return None

    def list_page(self, query: names.Query) -> names.Page:
        if self.names_down is not None:
            raise Err(names.NamesError_Unavailable(self.names_down))
        if not 1 <= query.limit <= 1000:
            raise Err(names.NamesError_Invalid(f"a page has 1 to 1000 registrations, and not {query.limit}"))
        after = b"" if query.after is None else query.after.encode()
        found = [
            copy.deepcopy(row.registration)
            for name, row in sorted(self._rows.items(), key=lambda item: item[0].encode())
            if row.is_active(self.now_ms)
            and name.encode().startswith(query.prefix.encode())
            and query.owner in (None, row.registration.owner)
            and name.encode() > after
        ]
        page = found[: query.limit]
        return names.Page(page, page[-1].name if len(found) > len(page) else None)

    def free_or_update(
        self, lease: locks.Lease, action: names.Action_Update | names.Action_Free
    ) -> tuple[bool, names.Registration | None]:
        """Does one write; says whether there was a registration, and how it is now."""
        self._begin_write([names.Write(lease, action)])
        if self._active(lease.locked) is None:
            self._saw(lease.locked, None)
            return False, None
        return True, self.write([names.Write(lease, action)])[0]

    def write(self, writes: list[names.Write]) -> list[names.Registration | None]:
        most = min(self._leases_max, WRITES_AT_ONCE)
        if not 1 <= len(writes) <= most:
            raise invalid(f"there are 1 to {most} writes at once, and not {len(writes)}")
        locked = [write.lease.locked for write in writes]
        for name in locked:
            if locked.count(name) > 1:
                raise invalid(f"the name {name!r} is written twice")
        self._begin_write(writes)
        rows = [self._written(write.lease.locked, self.held(write.lease), write.action) for write in writes]
        results: list[names.Registration | None] = []
        for write, row in zip(writes, rows, strict=True):
            self._rows[write.lease.locked] = row
            if isinstance(write.action, names.Action_Free):
                self._saw(write.lease.locked, None)
                results.append(None)
            else:
                results.append(self._give(row.registration))
        return results

    def _begin_write(self, writes: list[names.Write]) -> None:
        """Lets happen what is to happen before, and checks all that does not depend on what is registered."""
        events, self._before_write = self._before_write, []
        for event in events:
            event()
        for write in writes:
            check_action(write.action)
            if self.remaining_ms(write.lease) <= WRITE_MS:
                raise Err(names.SaveError_LeaseLost())
        if self.names_down is not None:
            raise Err(names.SaveError_Unavailable(self.names_down))

    def _written(
        self, name: str, held: Held, action: names.Action_Save | names.Action_Update | names.Action_Free
    ) -> Row:
        """Returns the row that a write makes, without writing it."""
        token = held.fencing_token
        last = self._rows.get(name)
        if isinstance(action, names.Action_Save):
            new = action.value
            if last is not None:
                self._check_way(last, held, new.owner)
            ends = None if new.lifetime_ms is None else self.now_ms + new.lifetime_ms
            saved = names.Registration(name, new.owner, self.now_ms, ends, token, list(new.attributes))
            return self._row(saved)
        if last is None or not last.is_active(self.now_ms):
            raise invalid(f"the name {name!r} has no active registration")
        if held.must_leave(last.registration):
            raise Err(names.SaveError_LeaseLost())
        if isinstance(action, names.Action_Free):
            return self._row(replace(last.registration, expires_ms=self.now_ms, fencing_token=token))
        change = action.value
        changed = replace(last.registration, fencing_token=token)
        if change.owner is not None:
            changed.owner = change.owner
        if change.lifetime is not None:
            ends = None
            if isinstance(change.lifetime, names.Lifetime_FromNowMs):
                ends = self.now_ms + change.lifetime.value
            changed.expires_ms = ends
        if change.attributes is not None:
            changed.attributes = list(change.attributes)
        return self._row(changed)

    def _row(self, registration: names.Registration) -> Row:
        return Row(registration, (registration.expires_ms or 0) + self._hold_ms)

    def _check_way(self, row: Row, held: Held, owner: str) -> None:
        """Refuses a save for `owner` that this row is in the way of."""
        last = row.registration
        if row.is_active(self.now_ms):
            held.saw(last)
            raise Err(names.SaveError_Taken(copy.deepcopy(last)))
        if last.fencing_token > held.fencing_token:
            raise Err(names.SaveError_LeaseLost())
        if last.owner != owner and self.now_ms < row.held_until_ms:
            raise Err(names.SaveError_Taken(copy.deepcopy(last)))

    def _active(self, name: str) -> Row | None:
        row = self._rows.get(name)
        return row if row is not None and row.is_active(self.now_ms) else None

    def _saw(self, name: str, found: names.Registration | None) -> None:
        """Notes what the call has been told of a name. Before it holds the lock on it, that says nothing."""
        if name in self._mine:
            self._mine[name][1].saw(found)

    def _give(self, registration: names.Registration) -> names.Registration:
        self._saw(registration.name, registration)
        self._given.append(copy.deepcopy(registration))
        return copy.deepcopy(registration)

    # What the bindings ask: settings.

    def setting(self, key: str) -> str | None:
        if self.settings_down is not None:
            raise Err(store.Error_Upstream(self.settings_down))
        return self.settings.get(key)


def _as_text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_given(change: Change) -> names.Change:
    given = change.to_wit()
    return given  # type: ignore[return-value]


def _rejection(refusal: object) -> _rejections.Rejection:
    """Returns the exception that a refusal of the contract stands for."""
    match refusal:
        case handler.Rejection_Invalid(text) | updates.Rejection_Invalid(text):
            return _rejections.Invalid(text)
        case handler.Rejection_Taken():
            return _rejections.Taken()
        case updates.Rejection_Missing():
            return _rejections.Missing()
        case handler.Rejection_Busy(ms) | updates.Rejection_Busy(ms):
            return _rejections.Busy(ms)
        case handler.Rejection_Forbidden(text) | updates.Rejection_Forbidden(text):
            return _rejections.Forbidden(text)
        case handler.Rejection_Unavailable(text) | updates.Rejection_Unavailable(text):
            return _rejections.Unavailable(text)
    raise AssertionError(f"the handler raised Err({refusal!r}), which is no rejection")
