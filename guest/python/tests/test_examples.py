"""The examples, as a tenant tests a handler."""

import contextlib
import hashlib
import io
import re
import unittest
from pathlib import Path
from unicodedata import category, unidata_version

from idiom import Idiom
from namelock import Busy, Change, Endless, Forbidden, FromNow, Invalid, Missing, Taken, Unavailable
from namelock.fake import Host
from room_name import canonical_name
from rooms import Rooms

CHARACTERS = Path(__file__).parents[2] / "handlers" / "rooms" / "characters.txt"
"""What the rules in Rust make of every character of Unicode 14; its first lines say how."""


class TheIdiom(unittest.TestCase):
    def test_a_name_has_one_owner(self) -> None:
        host = Host()
        self.assertEqual(host.register(Idiom, "blue", "ann", 60_000, {"floor": "2"}).owner, "ann")
        with self.assertRaises(Taken):
            host.register(Idiom, "blue", "bob")
        with self.assertRaises(Forbidden):
            host.free(Idiom, "blue", "bob")
        host.free(Idiom, "blue", "ann")
        host.free(Idiom, "blue", "ann")
        self.assertEqual(host.register(Idiom, "blue", "bob").owner, "bob")

    def test_a_name_that_is_not_valid_or_busy_is_not_saved(self) -> None:
        host = Host()
        with self.assertRaises(Invalid):
            host.register(Idiom, "no/slashes", "ann")
        host.lock("blue", for_ms=70)
        with self.assertRaises(Busy) as refused:
            host.register(Idiom, "blue", "ann")
        self.assertEqual(refused.exception.retry_after_ms, 70)
        self.assertIsNone(host.find("blue"))
        host.unlock("blue")
        host.register(Idiom, "blue", "ann")


class TheRooms(unittest.TestCase):
    def test_spellings_of_one_name_are_one_room(self) -> None:
        host = Host()
        self.assertEqual(host.register(Rooms, " Blue Room ", "ann").name, "blue room")
        with self.assertRaises(Taken):
            host.register(Rooms, "blue room", "bob")

    def test_a_room_lasts_for_as_long_as_is_asked_set_or_usual(self) -> None:
        for settings, wished, expected in (({}, 5, 5), ({}, None, 86_400_000), ({"default_lifetime_ms": 7}, None, 7)):
            with self.subTest(settings=settings, wished=wished):
                made = Host(settings).register(Rooms, "blue", "ann", wished)
                self.assertEqual(made.expires_ms, made.created_ms + expected)

    def test_a_busy_room_is_waited_for_as_set(self) -> None:
        host = Host({"wait_ms": 100})
        host.lock("blue", for_ms=100)
        host.register(Rooms, "blue", "ann")
        host.lock("red", for_ms=101)
        with self.assertRaises(Busy):
            host.register(Rooms, "red", "ann")

    def test_a_setting_that_is_wrong_refuses(self) -> None:
        host = Host({"wait_ms": "soon"})
        with self.assertRaises(Unavailable) as refused, contextlib.redirect_stderr(io.StringIO()):
            host.register(Rooms, "blue", "ann")
        self.assertEqual(refused.exception.text, "the setting `wait_ms` of this handler cannot be used")

    def test_only_its_owner_frees_and_changes_a_room(self) -> None:
        host = Host()
        host.register(Rooms, "blue", "ann", attributes={"floor": "2"})
        with self.assertRaises(Forbidden) as refused:
            host.free(Rooms, "blue", "bob")
        self.assertEqual(refused.exception.text, "the room belongs to somebody else")
        with self.assertRaises(Forbidden):
            host.update(Rooms, "blue", "bob", Change(owner="bob"))
        changed = host.update(Rooms, "Blue", "ann", Change(owner="bob", lifetime=Endless(), attributes={}))
        self.assertEqual((changed.owner, changed.expires_ms, changed.attributes), ("bob", None, {}))
        changed = host.update(Rooms, "blue", "bob", Change(lifetime=FromNow(9)))
        self.assertEqual(changed.expires_ms, host.now_ms + 9)
        host.free(Rooms, "blue", "bob")
        with self.assertRaises(Missing):
            host.update(Rooms, "blue", "bob", Change())
        host.free(Rooms, "blue", "bob")


class NamesOfRooms(unittest.TestCase):
    def test_different_spellings_of_one_name_become_the_same_bytes(self) -> None:
        for text, expected in (
            ("lobby", "lobby"),
            ("  Lobby\t\n", "lobby"),
            ("Café", "caf\u00e9"),
            ("CAFE\u0301", "caf\u00e9"),
            ("\u212bngstrom", "\u00e5ngstrom"),
            ("İzmir", "i\u0307zmir"),
            ("Room 7-b_2", "room 7-b_2"),
            ("Зал ٣", "зал ٣"),
            ("हिन्दी", "हिन्दी"),
            ("あ", "あ"),
            ("\u24b6", "\u24d0"),
            ("x" * 64, "x" * 64),
        ):
            with self.subTest(text=text):
                self.assertEqual(canonical_name(text), expected)
                self.assertEqual(canonical_name(expected), expected)

    def test_an_invalid_name_is_refused_with_the_rule_it_breaks(self) -> None:
        empty = "the name of a room must have at least one letter or digit"
        edge = "the name of a room must start and end with a letter or a digit"
        spaces = "the name of a room must not have two spaces in a row"
        character = 'the name of a room may have only letters, digits, single spaces, "-" and "_"; {} is none of them'
        for text, expected in (
            ("", empty),
            (" \u00a0\t ", empty),
            ("x" * 65, "the name of a room may have at most 64 characters; this one has 65"),
            ("-lobby", edge),
            ("lobby_", edge),
            ("-", edge),
            ("the  lobby", spaces),
            ("the\tlobby", character.format(r"'\t'")),
            ("the\u00a0lobby", character.format(r"'\u{a0}'")),
            ("lobby!", character.format("'!'")),
            ("lob\0by", character.format(r"'\0'")),
            ("it's", character.format(r"'\''")),
            ("\u0301a", character.format(r"'\u{301}'")),
            ("a-\u0301", character.format(r"'\u{301}'")),
            ("\x1clobby", character.format(r"'\u{1c}'")),
            ("🦀", character.format("'🦀'")),
        ):
            with self.subTest(text=text), self.assertRaises(Invalid) as refused:
                canonical_name(text)
            self.assertEqual(refused.exception.text, expected)

    def test_every_character_stands_where_rust_says(self) -> None:
        text = CHARACTERS.read_text()
        runs = [
            (int(first, 16), int(last, 16), verdicts)
            for first, last, verdicts in re.findall(r"^(\w+)\.\.(\w+) (.+)$", text, re.MULTILINE)
        ]
        listed = {number for first, last, _ in runs for number in range(first, last + 1)}
        known = {n for n in range(0x110000) if category(chr(n)) not in ("Cn", "Cs")}
        self.assertLessEqual(listed, known)
        if unidata_version == "14.0.0":
            self.assertEqual(known - listed, set())
        digest = hashlib.sha256()
        differences = []
        for first, last, verdicts in runs:
            for char in map(chr, range(first, last + 1)):
                outcomes = [outcome(name) for name in (f"{char}a", f"a{char}a", f"a-{char}a")]
                if "".join(verdict for verdict, _ in outcomes) != verdicts:
                    differences.append(f"U+{ord(char):04X} {verdicts}")
                digest.update("".join(f"{what}\n" for _, what in outcomes).encode())
        self.assertEqual(differences[:20], [])
        self.assertIn(f"\nsha256 {digest.hexdigest()}\n", text)


def outcome(text: str) -> tuple[str, str]:
    """Returns what becomes of the name of a room: + and its canonical form, or - and the text of the refusal."""
    try:
        return "+", canonical_name(text)
    except Invalid as refused:
        return "-", refused.text


if __name__ == "__main__":
    unittest.main()
