"""Where a table begins, and whether its first row names the columns."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.imports.reader import columns, words
from app.domain.imports.reader import values as values_
from app.domain.imports.reader.shapes import LETTERS, Rule, Traits
from app.schema.texts import clean_code

MAX_LEAD = 10
"""Most lines that may stand before a table."""
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_COMMENT = re.compile(r"\s*(#|//|--\s|/\*|\*\s|;\s*#|rem\s)", re.IGNORECASE)

_REMARK = re.compile(r"\s*(#+|//+|--+|;\s*#|rem)(\s.*)?", re.IGNORECASE | re.DOTALL)
"""A comment for certain: its sign stands apart, as in no code."""
_RULE = re.compile(r"[-=+|_~* :]{3,}")
"""A line that is drawn, as around the tables of consoles."""

Row = Sequence[str]
Numbered = tuple[int, Row]
"""A row, and the line in which it begins, from 0."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a table begins."""

    row: int
    """The first row of the table."""
    headed: bool | None
    """None where the file does not show it."""
    aside: bool = False
    """Whether the first row is neither a heading nor like the others."""


def preamble(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return the lines before the first that may be of the table, and the delimiter that they name."""
    delimiter, skip = None, 0
    if lines and (named := _SEPARATOR.fullmatch(lines[0].lstrip("\ufeff"))):
        delimiter, skip = named[1], 1
    comments = [
        bool(_COMMENT.match(line.lstrip("\ufeff")) or _RULE.fullmatch(line.strip("\ufeff \t\r\n")))
        for line in lines
    ]
    filled = [line for line in lines if line.strip()]
    if sum(comments) > len(filled) / 2:  # then it may be the codes that begin so
        comments = [bool(_REMARK.fullmatch(line.lstrip("\ufeff"))) for line in lines]
    while skip < len(lines) - 1 and (
        not lines[skip].strip("\ufeff \t\r\n")
        or (comments[skip] and not _names_columns(lines[skip], lines[skip + 1]))
    ):
        skip += 1
    return skip, delimiter


def _names_columns(line: str, following: str) -> bool:
    """Return whether a line that begins with `#` is a header: `#;Code;Value`, where the next has as many delimiters."""
    return any(line.count(sign) == following.count(sign) > 0 for sign in ";,\t|")


def start_of(rows: Sequence[Numbered], wanted: bool | None) -> Start:
    """Return where the table begins; `wanted` says whether it has a header, if that is known."""
    if not rows:
        return Start(0, wanted)
    width = Counter(len(_trimmed(row)) for _, row in rows).most_common(1)[0][0]
    found = (
        _single([(line, clean_code(_first_cell(row))) for line, row in rows])
        if width <= 1
        else _wide(rows, width)
    )
    return found if wanted is None else Start(found.row, wanted)


def _trimmed(row: Row) -> Row:
    end = len(row)
    while end and not row[end - 1].strip():
        end -= 1
    return row[:end]


def _first_cell(row: Row) -> str:
    return next((cell for cell in row if cell.strip()), "")


def _single(values: Sequence[tuple[int, str]]) -> Start:
    """Return the start of a table of one column."""
    if len(values) > 1 and len({value for _, value in values}) == 1:
        return Start(0, headed=False)
    values = _once(values)
    texts = [value for _, value in values]
    lead = _lead(texts)
    first = 0
    for index in range(lead - 1):  # all but the last line before the first that is like the others
        gap = values[index + 1][0] - values[index][0] > 1
        if gap or " " in texts[index]:
            first = index + 1
    body = texts[first + 1 :]
    if not body:
        return Start(first, words.is_heading(texts[first]))
    if lead == 0:
        return _alike(texts[0], body)
    rule = Rule(columns.shapes_of(texts[lead:]))
    return _unlike(first, texts[first], body, rule, alone=first == lead - 1)


def _once(values: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the lines without repeats of the first ones: joined files have their headings more than once."""
    first = {value for _, value in values[:MAX_LEAD]}
    seen: set[str] = set()
    kept = []
    for line, value in values:
        if value not in first or value not in seen:
            kept.append((line, value))
            seen.add(value)
    return kept


def _lead(texts: Sequence[str]) -> int:
    """Return how many of the first lines are unlike all that follow."""
    lead = 0
    for index in range(min(MAX_LEAD, len(texts) - 1)):
        rest = texts[index + 1 :]
        rule = Rule(columns.shapes_of(rest))
        if rule.is_unlike(texts[index], 0) or (
            index == 0 and len(rest) == 1 and _differs(texts[index], rest[0])
        ):
            lead = index + 1
        else:
            break
    return lead


def _differs(first: str, second: str) -> bool:
    """Return whether of two lines the first can only be a heading."""
    one, two = Traits.of(first).signs, Traits.of(second).signs
    return "9" in two and "9" not in one and bool(one - two)


def _unlike(row: int, first: str, body: Sequence[str], rule: Rule, *, alone: bool) -> Start:
    signs = Traits.of(first).signs
    usual = {sign for sign, weight in rule.signs.items() if weight > rule.few or rule.total < 3}  # noqa: PLR2004
    begins = any(value.startswith(first) for value in body)
    if words.has_heading_word(first) and not begins and not _much(body):
        return Start(row, True)
    if begins or not alone:
        return Start(row, False, aside=True)
    heading = bool(signs - usual) and bool(signs & LETTERS) and not _like_a_code(first)
    return Start(row, True) if heading else Start(row, False, aside=True)


def _like_a_code(text: str) -> bool:
    """Return whether a text mixes letters and digits in a word, as headings do not."""
    return " " not in text and re.search(r"\d", text) is not None


def _much(body: Sequence[str]) -> bool:
    return sum(map(words.is_heading, body)) > len(body) / 5


def _alike(first: str, body: Sequence[str]) -> Start:
    """Return the start where the first line is like the others: a code, unless its words are those of a heading."""
    if words.is_heading(first):
        if any(value.startswith(first) for value in body):
            return Start(0, False, aside=True)
        return Start(0, None if _much(body) else True)
    if words.is_placeholder(first):
        return Start(0, False)
    holds = values_.holds(body, len(body))
    in_words = holds == "words" and not any(map(str.isdigit, first)) and not first.isupper()
    return Start(0, None if in_words and sum(map(_worded, body)) > len(body) / 2 else False)


def _worded(value: str) -> bool:
    return not re.search(r"\d", value)


def _wide(rows: Sequence[Numbered], width: int) -> Start:
    """Return the start of a table of several columns."""
    first = 0
    for index in range(min(MAX_LEAD, len(rows) - 2)):
        row = _trimmed(rows[index][1])
        filled = [cell for cell in row if cell.strip()]
        heads = len(filled) > 1 and len(row) >= width and all(map(words.has_heading_word, filled))
        if (len(filled) <= 1 or (len(row) != width and not heads)) and (
            rows[index + 1][0] - rows[index][0] > 1 or _is_title(row, rows[index + 1 :])
        ):
            first = index + 1
        else:
            break
    head = rows[first][1]
    again = [clean_code(cell) for cell in head]
    body = [row for _, row in rows[first + 1 :] if [clean_code(cell) for cell in row] != again]
    votes = sum(_vote(cell, index, body) for index, cell in enumerate(head))
    if not body:
        return Start(first, sum(map(words.is_heading, head)) > len(head) / 2)
    return Start(first, None if votes == 0 else votes > 0)


def _is_title(row: Row, rest: Sequence[Numbered]) -> bool:
    """Return whether what stands in a short row is unlike the column below it."""
    value = clean_code(" ".join(row))
    index = next((n for n, cell in enumerate(row) if cell.strip()), 0)
    below = [clean_code(other[index]) for _, other in rest if index < len(other) and other[index].strip()]
    return " " in value or not below or Rule(columns.shapes_of(below)).is_unlike(value, 0)


def _vote(cell: str, index: int, body: Sequence[Row]) -> int:
    """Return what a cell says: above 0 that it is a heading, below that it is like what stands under it."""
    cell = clean_code(cell)
    below = [clean_code(row[index]) for row in body if index < len(row) and row[index].strip()]
    if not cell:
        return 0
    if not below:
        return 2 if words.is_heading(cell) else 0
    kind = values_.holds(below, len(below))
    if cell in below:
        return -2 if kind != "codes" or below.count(cell) > 1 or len(below) < 10 else 0  # noqa: PLR2004
    if kind in {"amounts", "numbers", "dates", "addresses", "links", "lists", "answers"}:
        return -3 if _is_of_kind(cell, kind) or (kind == "answers" and _answers_too(cell, below)) else 2
    if kind == "codes" and _like_a_code(cell) and not Rule(columns.shapes_of(below)).is_unlike(cell, 0):
        return -3
    known = (
        words.is_heading(cell)
        and cell.casefold() not in values_.BOOLEAN
        and not any(map(words.is_heading, below[:20]))
    )
    return (
        2
        if known and not any(value.startswith(cell) for value in below)
        else _vote_of_shape(cell, below, kind)
    )


def _is_of_kind(cell: str, kind: str) -> bool:
    number = any(map(str.isdigit, cell)) and not re.search(r"[^\W\d_]{3}", cell)
    return values_.holds([cell], 1) == kind or (number and kind in {"amounts", "numbers"})


def _answers_too(cell: str, below: Sequence[str]) -> bool:
    """Return whether a cell is an answer that goes with those below it."""
    given = set(map(str.casefold, below))
    return any(cell.casefold() in together and given & together for together in values_.ANSWERS)


def _vote_of_shape(cell: str, below: Sequence[str], kind: str) -> int:
    rule = Rule(columns.shapes_of(below))
    digits = any(map(str.isdigit, cell))
    if rule.is_unlike(cell, 0):
        plain = not Traits.of(cell).signs - {sign for sign, weight in rule.signs.items() if weight > rule.few}
        return 0 if plain or digits else 1
    return -1 if kind == "codes" or digits else 0
