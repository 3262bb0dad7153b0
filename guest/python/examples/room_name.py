"""The rules for names of rooms, as the handler `rooms` in Rust has them, with the same texts.

They are the same for every character of Unicode 14. Of those that are newer, each language knows what its own version
of Unicode has, and refuses the others.
"""

from unicodedata import category, normalize

from namelock import Invalid

NAME_CHARS_MAX = 64
"""The longest name of a room, in characters of its canonical form."""

SEPARATORS = " -_"
# What Unicode calls White_Space. `str.strip` without it strips U+001C to U+001F too, which are none.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
# Letters in circles and squares are alphabetic, but Unicode puts them among the symbols.
ENCLOSED_LETTERS = (range(0x24B6, 0x24EA), range(0x1F130, 0x1F14A), range(0x1F150, 0x1F16A), range(0x1F170, 0x1F18A))


def canonical_name(text: str) -> str:
    """Returns the name in its canonical form: trimmed, lowercase, composed (NFC). Raises the rule that it breaks.

    The lock and the database compare names byte for byte, so two spellings of one room must become the same bytes here.
    It is composed before, because a letter and its accent may come as one character or as two, and after, because
    changing the case can decompose a character.
    """
    name = normalize("NFC", normalize("NFC", text.strip(WHITE_SPACE)).lower())
    if not name:
        raise Invalid("the name of a room must have at least one letter or digit")
    if len(name) > NAME_CHARS_MAX:
        raise Invalid(f"the name of a room may have at most {NAME_CHARS_MAX} characters; this one has {len(name)}")
    if name[0] in SEPARATORS or name[-1] in SEPARATORS:
        raise Invalid("the name of a room must start and end with a letter or a digit")
    before = " "
    for char in name:
        if char == before == " ":
            raise Invalid("the name of a room must not have two spaces in a row")
        # Many scripts write a vowel, or its absence, as a mark on the preceding letter.
        fits = before not in SEPARATORS if is_mark(char) else char in SEPARATORS or is_alphanumeric(char)
        if not fits:
            raise Invalid(
                'the name of a room may have only letters, digits, single spaces, "-" and "_"; '
                f"{quoted(char)} is none of them"
            )
        before = char
    return name


def is_mark(char: str) -> bool:
    return category(char).startswith("M")


def is_alphanumeric(char: str) -> bool:
    return category(char)[0] in "LN" or any(ord(char) in letters for letters in ENCLOSED_LETTERS)


def quoted(char: str) -> str:
    """Returns a character in quotes, as Rust writes one: by its number if it cannot be seen by itself."""
    escapes = {"\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r", "'": "\\'", "\\": "\\\\"}
    if char in escapes:
        return f"'{escapes[char]}'"
    return f"'{char}'" if char.isprintable() and not is_mark(char) else f"'\\u{{{ord(char):x}}}'"
