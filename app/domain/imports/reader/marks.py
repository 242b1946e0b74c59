"""Marks in front of cells that are no codes, whatever they look like; no file can hold them by chance."""

LOST = "\x00#"
"""Stands before a number whose last digits the spreadsheet has lost."""
NOT_TEXT = "\ufdd0"
"""Stands before a value that is no text where it comes from: a number, a list, an object, true or false."""


def seen(cell: str) -> str:
    """Return a cell as people see it, without its mark."""
    return cell.removeprefix(LOST).removeprefix(NOT_TEXT)
