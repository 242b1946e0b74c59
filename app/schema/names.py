"""Names that people read: what looks alike is alike, and nothing in them is invisible."""

import unicodedata

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
