"""What becomes of what a handler returns and raises."""

import contextlib
import io
import unittest
from dataclasses import replace

import namelock
from namelock import (
    Busy,
    Change,
    Forbidden,
    Invalid,
    LeaseLimit,
    LeaseLost,
    LockUnavailable,
    Missing,
    NamesUnavailable,
    Registration,
    Rejection,
    Request,
    SettingUnusable,
    Taken,
    Unavailable,
    UpdateRequest,
    name_lock,
    setting,
    setting_ms,
)
from namelock import _fake_bindings as bindings
from namelock.fake import Host


def raising(error: Exception) -> type[namelock.Updates]:
    class Raising(namelock.Updates):
        def register(self, request: Request) -> Registration:
            with name_lock(request.name):
                raise error

        def free(self, name: str, owner: str) -> None:
            raise error

        def update(self, request: UpdateRequest) -> Registration:
            raise error

    return Raising


class Rejections(unittest.TestCase):
    def test_each_becomes_that_of_the_contract(self) -> None:
        handler, updates = bindings.handler, bindings.updates
        for error, expected, expected_of_update in (
            (Invalid("why"), handler.Rejection_Invalid("why"), updates.Rejection_Invalid("why")),
            (Taken(), handler.Rejection_Taken(), updates.Rejection_Forbidden("the name is taken")),
            (
                Missing(),
                handler.Rejection_Invalid("the name has no active registration"),
                updates.Rejection_Missing(),
            ),
            (Busy(7), handler.Rejection_Busy(7), updates.Rejection_Busy(7)),
            (Forbidden("why"), handler.Rejection_Forbidden("why"), updates.Rejection_Forbidden("why")),
            (Unavailable("why"), handler.Rejection_Unavailable("why"), updates.Rejection_Unavailable("why")),
        ):
            with self.subTest(error=error), Host():
                exported, updating = namelock.export(raising(error))(), namelock.export_updates(raising(error))()
                with self.assertRaises(bindings.Err) as refused:
                    exported.register(handler.Request("blue", "ann", None, []))
                self.assertEqual(refused.exception.value, expected)
                with self.assertRaises(bindings.Err) as refused:
                    exported.free("blue", "ann")
                self.assertEqual(refused.exception.value, expected)
                with self.assertRaises(bindings.Err) as refused:
                    updating.update(updates.Request("blue", "ann", bindings.names.Change(None, None, None)))
                self.assertEqual(refused.exception.value, expected_of_update)

    def test_the_caller_does_not_hear_what_is_for_the_log(self) -> None:
        for error, text in (
            (LockUnavailable("secret"), "the lock service cannot grant"),
            (LeaseLimit("at most 8"), "at most 8"),
            (LeaseLost("secret"), "the lease on the name was lost"),
            (NamesUnavailable("the names database does not answer", "secret"), "the names database does not answer"),
            (SettingUnusable("wait_ms", "secret"), "the setting `wait_ms` of this handler cannot be used"),
        ):
            with self.subTest(error=error), self.assertRaises(Unavailable) as refused:
                Host().register(raising(error), "blue", "ann")
            self.assertEqual(refused.exception.text, text)

    def test_another_exception_goes_on_to_the_host(self) -> None:
        host = Host()
        with self.assertRaises(ZeroDivisionError):
            host.register(raising(ZeroDivisionError()), "blue", "ann")
        self.assertFalse(host.is_locked("blue"))

    def test_all_are_ordinary_exceptions(self) -> None:
        for rejection in (Invalid("why"), Taken(), Missing(), Busy(7), Forbidden("why"), LockUnavailable("why")):
            self.assertIsInstance(rejection, Rejection)
            rejection.add_note("a frozen one could not be given any")


class Results(unittest.TestCase):
    def returning(self, made: object) -> type[namelock.Handler]:
        class Returning(namelock.Handler):
            def register(self, request: Request) -> Registration:
                with name_lock(request.name) as lock:
                    saved = lock.save(request.owner, attributes={"floor": "2"})
                return replace(saved, owner="bob") if made == "another" else made  # type: ignore[return-value]

            def free(self, name: str, owner: str) -> None: ...

        return Returning

    def test_anything_but_a_registration_names_the_method(self) -> None:
        with self.assertRaisesRegex(TypeError, r"Returning\.register returned None"):
            Host().register(self.returning(None), "blue", "ann")

    def test_a_registration_that_the_host_did_not_give_fails_the_test(self) -> None:
        with self.assertRaisesRegex(AssertionError, "none of the last 16"):
            Host().register(self.returning("another"), "blue", "ann")

    def test_a_key_that_was_saved_twice_goes_back_as_it_came(self) -> None:
        given = bindings.names.Registration("blue", "ann", 1, None, 2, [("a", "1"), ("a", "2")])
        registration = Registration.from_wit(given)  # type: ignore[arg-type]
        self.assertEqual(registration.attributes, {"a": "1"})
        self.assertEqual(registration.to_wit(), given)


class Settings(unittest.TestCase):
    def test_they_are_read_as_text_or_as_milliseconds(self) -> None:
        with Host(settings={"wait_ms": 500, "greeting": "hello", "open": True}):
            self.assertEqual(setting_ms("wait_ms"), 500)
            self.assertEqual(setting("greeting"), "hello")
            self.assertEqual(setting("open"), "true")
            self.assertIsNone(setting("other"))
            self.assertIsNone(setting_ms("other"))

    def test_one_that_is_wrong_is_named_in_the_log(self) -> None:
        for text in ("soon", "-1", "1.5", "", " 1", "1_0", "٣", str(2**64)):
            log = io.StringIO()
            with self.subTest(text=text), Host(settings={"wait_ms": text}), contextlib.redirect_stderr(log):
                with self.assertRaises(SettingUnusable) as refused:
                    setting_ms("wait_ms")
                self.assertEqual(refused.exception.text, "the setting `wait_ms` of this handler cannot be used")
                self.assertIn(f"cannot use {text!r} as the setting `wait_ms`", log.getvalue())
                self.assertEqual(log.getvalue().count("\n"), 1)

    def test_one_that_cannot_be_read_is_not_the_default(self) -> None:
        host = Host()
        host.settings_down = "no answer"
        with host, self.assertRaises(SettingUnusable):
            setting("wait_ms")


class Elsewhere(unittest.TestCase):
    def test_without_a_host_it_is_said_how_to_get_one(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "with namelock.fake.Host"):
            namelock.find("blue")


class Changes(unittest.TestCase):
    def test_they_go_to_the_host_and_back(self) -> None:
        for change in (
            Change(),
            Change("ann", namelock.Endless(), {}),
            Change(None, namelock.FromNow(7), {"floor": "2"}),
        ):
            self.assertEqual(Change.from_wit(change.to_wit()), change)


if __name__ == "__main__":
    unittest.main()
