"""What the columns of a table hold, and which of them holds the codes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.imports.reader import words
from app.domain.imports.reader.shapes import Shapes
from app.schema.texts import clean_code

DATE = re.compile(
    r"\d{4}[-./]\d{1,2}[-./]\d{1,2}([ T]\d.*)?|\d{1,2}[-./]\s?\d{1,2}[-./]\s?\d{2,4}([ T,].*)?"
    r"|\d{1,2}\.?[ -][^\W\d_]{3,9}\.?[ -,]+\d{4}|[^\W\d_]{3,9} \d{1,2}, \d{4}"
)
AMOUNT = re.compile(
    r"[-+]?([A-Z]{3}|[€$£¥₽₴])?\s?\d{1,3}([., '\u00a0]?\d{3})*([.,]\d{1,2})?\s?([%€$£¥₽₴]|[A-Z]{3}|Kč|zł|kr\.?|Ft)?"
    r"|\d{1,6}[.,]\d{1,4}|\d{1,5}"
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
URL = re.compile(r"(https?|ftp)://\S+|www\.\S+\.\S+", re.IGNORECASE)
LIST = re.compile(r"\[.*\]|\{.*\}|\(.*,.*\)", re.DOTALL)
WORDS = re.compile(r"\D+|.*[^\W\d_]{3,} [^\W\d_]*[a-z\u00df-\u00ff]{2,}.*", re.DOTALL)
"""No digit, or words of a text."""
BOOLEAN = frozenset(
    ["true", "false", "yes", "no", "y", "n", "1", "0", "ja", "nein", "oui", "non", "si", "sí", "no", "ano", "ne", "tak", "nie", "on", "off", "wahr", "falsch", "active", "inactive", "used", "unused"]
)
MOST = 0.8
"""The part of a column that settles what it holds."""
LONG = 8
"""Digits of numbers that nobody counts up to."""
MANY_WORDS = 4.0
"""Words of a value, on average, that make a column one of sentences."""

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
        name = header[index].strip().lstrip("\ufeff") if header and index < len(header) else ""
        values = [clean_code(row[index]) if index < len(row) else "" for row in rows]
        filled = [value for value in values if value and value != name and not words.is_placeholder(value)]
        found.append(Column(index, name, holds(filled, len(values)), strength(name), tuple(filled[:3])))
    while len(found) > 1 and found[-1].holds == "nothing" and not found[-1].name:
        found.pop()
    return found


def holds(values: Sequence[str], rows: int) -> str:
    """Return what these values are."""
    if not values:
        return "nothing"
    for kind, pattern in (("addresses", EMAIL), ("links", URL), ("lists", LIST), ("dates", DATE)):
        if sum(pattern.fullmatch(value) is not None for value in values) >= MOST * len(values):
            return kind
    if sum(value.casefold() in BOOLEAN for value in values) >= MOST * len(values) and len(values) > 1:
        return "answers"
    different = len(set(values))
    if different == 1 and len(values) > 2:  # noqa: PLR2004  (twice the same may be by chance)
        return "one value"
    if sum(AMOUNT.fullmatch(value) is not None for value in values) >= MOST * len(values):
        whole = [value for value in values if value.isdecimal()]
        if len(whole) < MOST * len(values) or max(map(len, whole)) < 4:  # noqa: PLR2004  (counts and sums are short)
            return "amounts"
        if different <= MOST * len(values):
            return "amounts"
        return "codes" if _one_length(whole) and len(whole[0]) >= LONG and not _counting(whole) else "numbers"
    if sum(len(value.split()) for value in values) >= MANY_WORDS * len(values):
        return "sentences"
    if different < len(values) / 2 and len(values) > 3:  # noqa: PLR2004
        return "repeated values"
    if rows > 5 and len(values) < rows / 10:  # noqa: PLR2004
        return "few values"
    if sum(WORDS.fullmatch(value) is not None for value in values) > len(values) / 2 and not _uniform(values):
        return "words"
    return "numbers" if all(map(str.isdecimal, values)) and _counting(values) else "codes"


def _uniform(values: Sequence[str]) -> bool:
    """Whether values are capital letters of one length: random ones, no words of a language."""
    lengths = Counter(map(len, values)).most_common(1)[0][1]
    capitals = sum(" " not in value and not value.islower() and not value.istitle() for value in values)
    return min(lengths, capitals) >= MOST * len(values)


def _one_length(values: Sequence[str]) -> bool:
    return Counter(map(len, values)).most_common(1)[0][1] >= MOST * len(values)


def _counting(values: Sequence[str]) -> bool:
    numbers = list(map(int, (value[:18] for value in values)))
    return len(numbers) > 2 and all(
        0 < after - before <= 10 for before, after in zip(numbers, numbers[1:], strict=False)
    )


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


def choose(columns: Sequence[Column], *, headed: bool) -> int | None:
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


NEVER = {"dates", "addresses", "links", "lists", "answers", "one value", "amounts"}
"""What is never the column of codes unless the caller says so."""


def shapes_of(values: Sequence[str]) -> Shapes:
    """Return the shapes of some values."""
    values = [value.replace("\n", " ") for value in values]
    shapes = Shapes.for_values(values)
    shapes.add(range(len(values)), values)
    return shapes
