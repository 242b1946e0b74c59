"""Marks in front of cells that are no codes, whatever they look like; no file can hold them by chance."""

import re

LOST = "\x00#"
"""Stands before a number whose last digits the spreadsheet has lost."""
BROKEN = "\x00!"
"""Stands before what a cell shows that is an error, such as `#REF!`."""
UNSAVED = "\x00="
"""Stands before a formula whose value was not saved with it."""
NOT_TEXT = "\ufdd0"
"""Stands before a value that is no text where it comes from: a number, a list, an object, true or false."""

NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
"""What PostgreSQL can keep in no text: NUL, and halves of characters."""

_MARKS = {LOST, BROKEN, UNSAVED}


def seen(cell: str) -> str:
    """Return a cell as people see it, without its mark, and as PostgreSQL can keep it."""
    shown = cell[2:] if cell[:2] in _MARKS else cell.removeprefix(NOT_TEXT)
    return NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", shown)
