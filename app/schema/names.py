"""Names that people read: what looks alike is alike, and nothing in them is invisible."""

import unicodedata
from collections.abc import Callable

MAX_NAME = 100
"""Characters of a name that stands in paths."""
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)
"""Letters and marks that show nothing: fillers, joiners and variation selectors."""


def nfc(name: str) -> str:
    """Return a name in Unicode's composed form, in which equal looks are equal texts."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def visible(name: str) -> str:
    """Return a name in NFC.

    Raises:
        ValueError: it is `.` or `..`, or has a character that is not seen or that turns the direction of others.
    """
    if name in {".", ".."}:
        raise ValueError(f"a name is not {name!r}")
    if name.isascii() and name.isprintable():
        return name
    for position, character in enumerate(name, start=1):
        if character in _UNSEEN or unicodedata.category(character) in {
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Cn",
            "Zl",
            "Zp",
        }:
            raise ValueError(
                f"a name has no invisible characters; there is U+{ord(character):04X} at character {position}"
            )
    return nfc(name)


def plain(thing: str) -> Callable[[str], str]:
    """Return what checks the name of a `thing` that stands in paths: visible, without white space and slashes."""

    def check(name: str) -> str:
        name = nfc(name)
        if not 1 <= len(name) <= MAX_NAME:
            raise ValueError(f"A {thing}'s name has 1 to {MAX_NAME} characters; this one has {len(name)}.")
        for position, character in enumerate(name, start=1):
            if character.isspace():
                kind = "a space" if character == " " else "white space"
                raise ValueError(
                    f"A {thing}'s name has no white space; there is {kind} at character {position}."
                )
            if character == "/" or not character.isprintable():
                raise ValueError(
                    f"A {thing}'s name has no {character!r}; there is one at character {position}."
                )
        return visible(name)

    return check
