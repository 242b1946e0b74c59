"""What the columns of a table hold, and which of them holds the codes."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.imports.reader import words
from app.domain.imports.reader.marks import BROKEN, UNSAVED, seen
from app.domain.imports.reader.shapes import Shapes
from app.domain.imports.reader.values import holds
from app.schema.texts import clean_code

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and what it seems to hold."""

    index: int
    name: str
    holds: str
    """`codes`, `numbers` that may be codes, or what it holds that no code is: `dates`, `amounts`, `nothing`, …"""
    named: int
    """How clearly its name says that codes are in it: 3 clearly, 0 not, -1 that they are not."""
    first_values: tuple[str, ...]


def describe(header: Row | None, rows: Sequence[Row]) -> list[Column]:
    """Return the columns; empty ones at the right are none."""
    width = max(map(len, [*rows, header or []]), default=1)
    whole = [row for row in rows if sum(map(bool, map(str.strip, row))) > 1]
    rows = whole if len(whole) > len(rows) / 2 else rows  # footers are no rows of a table
    found = []
    for index in range(width):
        name = name_of(header[index]) if header and index < len(header) else ""
        values = [clean_code(_said(row[index])) if index < len(row) else "" for row in rows]
        filled = [value for value in values if value and value != name and not words.is_placeholder(value)]
        found.append(Column(index, name, holds(filled, len(values)), strength(name), tuple(filled[:3])))
    while len(found) > 1 and found[-1].holds == "nothing" and not found[-1].name:
        found.pop()
    return found


def name_of(cell: str) -> str:
    """Return the name of a column, as its heading shows it."""
    return seen(cell).strip().lstrip("\ufeff")


def _said(cell: str) -> str:
    """Return what a cell says of its column: nothing, where a formula has no value."""
    return "" if cell.startswith(UNSAVED) else cell.removeprefix(BROKEN)


def strength(name: str) -> int:
    """Return how clearly a name says that a column holds codes."""
    if not name or not words.words_of(name):
        return 0
    if words.NOT_THE_CODE.search(words.plain(name)):
        return -1
    voucher, code = words.names_voucher(name), words.names_code(name)
    if code and (voucher or len(words.words_of(name)) == 1):
        return 3
    if voucher and words.names_number(name):
        return 3
    if voucher or code:
        return 2
    return 1 if words.names_number(name) else -1 if words.names_other(name) else 0


def choose(columns: Sequence[Column]) -> int | None:
    """Return the index of the column of the codes; None where the file does not show it."""
    can = [column for column in columns if column.holds in {"codes", "numbers", "words"}]
    if len(columns) == 1:
        (only,) = columns
        good = only.holds in {"codes", "numbers", "words", "nothing", "repeated values"}
        told = only.named > 1 and only.holds in {"amounts", "one value", "sentences"}
        return only.index if good or told else None
    named = [
        column
        for column in columns
        if column.named > 1 and column.holds not in NEVER - {"amounts"} and column.holds != "sentences"
    ]
    if named:
        top = max(column.named for column in named)
        best = [column for column in named if column.named == top]
        if len(best) > 1:
            best = [column for column in best if column.holds == "codes"]
        if len(best) == 1 and (best[0].holds in {"codes", "numbers", "words", "nothing"} or not _codes(can)):
            good = best[0].holds in {"codes", "numbers", "words"} or (
                best[0].holds == "nothing" and len(best[0].first_values) == 0
            )
            return best[0].index if good else None
        return None
    likely = [column for column in can if column.holds == "codes" and column.named >= 0] or [
        column for column in can if column.holds == "numbers" and column.named >= 1
    ]
    rivals = [
        column
        for column in can
        if column.holds in {"codes", "numbers"} and column not in likely and column.named >= 1
    ]
    return likely[0].index if len(likely) == 1 and not rivals else None


def _codes(columns: Sequence[Column]) -> bool:
    return any(column.holds == "codes" and column.named >= 0 for column in columns)


NEVER = {"items of a list", "dates", "addresses", "links", "lists", "answers", "one value", "amounts"}
"""What is never the column of codes unless the caller says so."""


def shapes_of(values: Sequence[str]) -> Shapes:
    """Return the shapes of some values."""
    values = [value.replace("\n", " ") for value in values]
    shapes = Shapes.for_values(values)
    shapes.add(range(len(values)), values)
    return shapes
