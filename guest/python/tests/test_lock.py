"""The lock on a name, as a handler sees it."""

import contextlib
import unittest
from typing import Iterator

import namelock
from namelock import (
    Busy,
    Change,
    Endless,
    FromNow,
    Invalid,
    LeaseLimit,
    LeaseLost,
    LockUnavailable,
    NamesUnavailable,
    Taken,
    Write,
    acquire,
    acquire_all,
    apply,
    find,
    list_names,
    name_lock,
    name_locks,
)
from namelock.fake import Host


class InHost(unittest.TestCase):
    def setUp(self) -> None:
        self.host = Host()
        self.host.__enter__()
        self.addCleanup(self.host.__exit__)


class NameLock(InHost):
    def test_a_free_name_is_locked_for_the_block(self) -> None:
        with name_lock("blue") as lock:
            self.assertTrue(lock)
            self.assertEqual(lock.name, "blue")
            self.assertTrue(self.host.is_locked("blue"))
        self.assertFalse(self.host.is_locked("blue"))

    def test_a_busy_lock_is_false_and_knows_when_to_try_again(self) -> None:
        self.host.lock("blue", for_ms=300)
        with name_lock("blue", wait_ms=100) as lock:
            self.assertFalse(lock)
            self.assertEqual(lock.retry_after_ms, 200)
        self.assertTrue(self.host.is_locked("blue"), "the lock of somebody else was released")

    def test_a_busy_lock_that_is_used_refuses_as_busy(self) -> None:
        self.host.lock("blue", for_ms=300)
        with name_lock("blue") as lock:
            with self.assertRaises(Busy) as refused:
                lock.save("ann")
        self.assertEqual(refused.exception.retry_after_ms, 300)
        self.assertIsNone(self.host.find("blue"))

    def test_a_wait_outlasts_the_holder(self) -> None:
        self.host.lock("blue", for_ms=300)
        with name_lock("blue", wait_ms=300) as lock:
            self.assertTrue(lock)

    def test_a_name_that_this_call_has_locked_is_busy(self) -> None:
        with name_lock("blue"), name_lock("blue") as again:
            self.assertFalse(again)

    def test_a_lock_that_fails_for_another_reason_raises(self) -> None:
        with self.assertRaises(Invalid):
            name_lock("")
        with contextlib.ExitStack() as stack:
            for number in range(8):
                stack.enter_context(name_lock(str(number)))
            with self.assertRaises(LeaseLimit):
                name_lock("one more")
        self.host.lock_down = "no server answers"
        with self.assertRaises(LockUnavailable) as failed:
            name_lock("blue")
        self.assertEqual(failed.exception.text, "the lock service cannot grant")
        self.assertEqual(str(failed.exception), "the lock service cannot grant: no server answers")

    def test_an_exception_releases_the_lock_and_goes_on(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            with name_lock("blue"):
                print(1 // 0)
        self.assertFalse(self.host.is_locked("blue"))

    def test_a_failure_passes_through_a_context_manager_of_the_handler(self) -> None:
        # `Err` of componentize-py would become a FrozenInstanceError here.
        @contextlib.contextmanager
        def locked(name: str) -> Iterator[namelock.Lease]:
            with name_lock(name) as lock:
                yield lock

        with locked("blue") as lock:
            lock.save("ann")
        with self.assertRaises(Taken) as refused:
            with locked("blue") as lock:
                lock.save("bob")
        self.assertEqual(refused.exception.registration, self.host.find("blue"))
        self.assertFalse(self.host.is_locked("blue"))

    def test_acquire_raises_what_is_busy(self) -> None:
        self.host.lock("blue", for_ms=300)
        with self.assertRaises(Busy) as refused:
            acquire("blue")
        self.assertEqual(refused.exception.retry_after_ms, 300)

    def test_a_number_that_the_contract_cannot_carry_is_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "wait_ms is -1"):
            name_lock("blue", -1)
        with self.assertRaisesRegex(TypeError, "wait_ms is 0.5"):
            name_lock("blue", 0.5)  # type: ignore[arg-type]


class OneLease(InHost):
    def test_it_saves_changes_and_frees_its_name(self) -> None:
        with name_lock("blue") as lock:
            saved = lock.save("ann", 60_000, {"floor": "2"})
            self.assertEqual(saved.attributes, {"floor": "2"})
            self.assertEqual(saved.expires_ms, saved.created_ms + 60_000)
            self.assertEqual(saved.fencing_token, lock.fencing_token)
            self.assertEqual(lock.saved, saved)
            changed = lock.update(Change(owner="bob", lifetime=Endless()))
            self.assertEqual(changed, find("blue"))
            assert changed is not None
            self.assertEqual((changed.owner, changed.expires_ms, changed.attributes), ("bob", None, {"floor": "2"}))
            self.assertTrue(lock.free())
            self.assertFalse(lock.free())
            self.assertIsNone(lock.update(Change(lifetime=FromNow(5))))
        self.assertIsNone(find("blue"))

    def test_it_is_used_only_until_it_is_released(self) -> None:
        with name_lock("blue") as lock:
            lock.release()
            self.assertFalse(self.host.is_locked("blue"))
            with self.assertRaisesRegex(RuntimeError, "after its release"):
                lock.save("ann")

    def test_it_can_be_renewed_for_a_minute(self) -> None:
        with name_lock("blue") as lock:
            for _ in range(11):
                self.assertEqual(lock.remaining_ms(), 10_000)
                self.host.advance(5_000)
                lock.renew()
            self.assertEqual(lock.remaining_ms(), 5_000)

    def test_one_that_is_lost_writes_nothing(self) -> None:
        with name_lock("blue") as lock:
            self.host.lose_leases()
            self.assertEqual(lock.remaining_ms(), 0)
            with self.assertRaises(LeaseLost):
                lock.renew()
            with self.assertRaises(LeaseLost):
                lock.save("ann")
        self.assertIsNone(find("blue"))

    def test_a_database_that_does_not_answer_is_named_for_the_log_alone(self) -> None:
        self.host.names_down = "connection refused"
        with name_lock("blue") as lock:
            with self.assertRaises(NamesUnavailable) as failed:
                lock.save("ann")
        self.assertNotIn("refused", failed.exception.text)
        self.assertIn("connection refused", str(failed.exception))

    def test_what_breaks_a_rule_is_refused(self) -> None:
        with name_lock("blue") as lock:
            for owner, lifetime_ms, attributes in (
                ("", None, {}),
                ("ann", 0, {}),
                ("ann", 1, {str(key): "" for key in range(33)}),
                ("ann", 1, {"key": "x" * 4096}),
            ):
                with self.subTest(owner=owner, lifetime_ms=lifetime_ms), self.assertRaises(Invalid):
                    lock.save(owner, lifetime_ms, attributes)

    def test_a_freed_name_is_held_for_its_owner(self) -> None:
        with Host(hold_ms=1000) as host, name_lock("blue") as lock:
            lock.save("ann")
            lock.free()
            with self.assertRaises(Taken):
                lock.save("bob")
            host.advance(1000)
            lock.save("bob")


class WhatIsOutdated(InHost):
    """What another lease has written since a handler read it is not overwritten, as by the host."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("a", "b"):
            with name_lock(name) as lock:
                lock.save("ann")

    def test_what_was_read_under_the_lease_must_still_be_so(self) -> None:
        with name_locks(["a", "b"]) as (a, b):
            self.assertEqual(found_owner("a"), "ann")
            self.host.before_next_write(lambda: self.host.write_late("a", "bob"))
            for write in (
                lambda: a.update(Change(owner="eve")),
                lambda: a.free(),
                lambda: apply([Write.free(b), Write.free(a)]),
                lambda: apply([Write.free(b), Write.update(a, Change(owner="eve"))]),
            ):
                with self.assertRaises(LeaseLost):
                    write()
            self.assertEqual([found.owner for found in list_names().registrations], ["bob", "ann"])
            # Whoever reads it again may write it, and what it has written itself.
            self.assertEqual(found_owner("a"), "bob")
            a.update(Change(owner="eve"))
            self.assertEqual(apply([Write.free(a), Write.free(b)]), [None, None])

    def test_that_a_name_was_free_is_outdated_too(self) -> None:
        with name_lock("c") as lock:
            self.assertIsNone(find("c"))
            self.assertEqual(self.host.write_late("c", "bob").owner, "bob")
            with self.assertRaises(LeaseLost):
                lock.free()
            # A list does not count as reading it. What says who has it does.
            self.assertEqual(len(list_names("c").registrations), 1)
            with self.assertRaises(LeaseLost):
                lock.update(Change(owner="ann"))
            with self.assertRaises(Taken):
                lock.save("ann")
            self.assertTrue(lock.free())

    def test_what_was_read_before_the_lease_does_not_count(self) -> None:
        self.assertEqual(found_owner("a"), "ann")
        with name_lock("a") as lock:
            self.host.write_late("a", "bob")
            self.assertTrue(lock.free())

    def test_a_write_is_late_only_for_a_lease_that_has_not_written(self) -> None:
        with self.assertRaisesRegex(ValueError, "does not hold the lock"):
            self.host.write_late("a", "bob")
        with name_lock("a") as lock:
            lock.update(Change(owner="eve"))
            with self.assertRaisesRegex(ValueError, "would be refused: names.SaveError_LeaseLost"):
                self.host.write_late("a", "bob")


def found_owner(name: str) -> str | None:
    found = find(name)
    return None if found is None else found.owner


class SeveralNames(InHost):
    def test_all_are_locked_or_none(self) -> None:
        with name_locks(["a", "b"]) as leases:
            self.assertEqual([lease.name for lease in leases], ["a", "b"])
            self.assertTrue(self.host.is_locked("b"))
        self.assertFalse(self.host.is_locked("a") or self.host.is_locked("b"))
        self.host.lock("b", for_ms=50)
        with name_locks(["a", "b"]) as leases:
            self.assertFalse(leases)
            self.assertEqual(leases.retry_after_ms, 50)
            self.assertFalse(self.host.is_locked("a"))
        with self.assertRaises(Busy):
            acquire_all(["a", "b"])

    def test_names_that_cannot_be_locked_together_are_invalid(self) -> None:
        with name_lock("a"):
            for wanted in ([], ["b", "b"], ["a", "b"]):
                with self.subTest(wanted=wanted), self.assertRaises(Invalid):
                    name_locks(wanted)

    def test_writes_are_done_together(self) -> None:
        with name_locks(["old", "new"]) as (old, new):
            old.save("ann")
            freed, saved = apply([Write.free(old), Write.save(new, "ann", 1000, {"floor": "2"})])
            self.assertIsNone(freed)
            self.assertEqual(saved, find("new"))
            self.assertEqual(new.saved, saved)
        self.assertIsNone(find("old"))

    def test_writes_of_which_one_is_refused_are_not_done(self) -> None:
        with name_locks(["old", "new"]) as (old, new):
            old.save("ann")
            new.save("bob")
            with self.assertRaises(Taken):
                apply([Write.free(old), Write.save(new, "ann")])
            self.assertIsNotNone(find("old"))
            new.free()
            with self.assertRaises(Invalid):
                apply([Write.free(old), Write.update(new, Change(owner="ann"))])
            with self.assertRaises(Invalid):
                apply([Write.free(old), Write.free(old)])
            with self.assertRaises(Invalid):
                apply([])
        self.assertIsNotNone(find("old"))

    def test_names_are_listed_page_by_page(self) -> None:
        for name, owner in (("b1", "ann"), ("a", "ann"), ("b2", "bob"), ("b3", "ann")):
            with name_lock(name) as lock:
                lock.save(owner)
        first = list_names("b", limit=2)
        self.assertEqual(([found.name for found in first.registrations], first.next), (["b1", "b2"], "b2"))
        second = list_names("b", after=first.next, limit=2)
        self.assertEqual(([found.name for found in second.registrations], second.next), (["b3"], None))
        self.assertEqual(len(list_names(owner="ann").registrations), 3)


if __name__ == "__main__":
    unittest.main()
