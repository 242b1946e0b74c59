"""How the rows of a text are written: the quote and the delimiter."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress

from app.domain.imports.reader import words
from app.domain.imports.reader.batches import RowReader

DELIMITERS = (",", ";", "\t", "|")
"""The usual ones, which the rows alone can show."""
UNUSUAL = ("%", ":", "^", "~", "!", "*", "&", "=", "+", "/", "#", "@", "$", "  ")
"""Others, which a header has to show as well. Two spaces: two or more of them."""
NO_DELIMITER = "\uffff"
"""Stands in no text, by the rules of Unicode."""
SAMPLE_ROWS = 500
PROSE_WORDS = 5
"""So many words are a sentence."""
NUMBER = re.compile(r"[-+]?[€$£]?\s?\d{1,3}([., ']?\d{3})*([.,]\d+)?\s?[%€$£]?|\d{1,5}")

Row = Sequence[str]


def quote_of(lines: list[str]) -> str:
    """Return the quote of a text: the double one, unless cells clearly stand in single ones."""
    stripped = [line.strip().rstrip(",; ") for line in lines if line.strip()]
    single = sum(len(line) > 1 and line.startswith("'") and line.endswith("'") for line in stripped)
    return "'" if stripped and single > len(stripped) / 2 else '"'


def delimiter_of(lines: list[str], quote: str) -> str | None:
    """Return the delimiter of a text, or None for a single column: the one that gives most rows the same width."""
    best, best_score = None, 0.5
    for delimiter in DELIMITERS:
        rows = split(lines, delimiter, quote)
        if not rows:
            continue
        if (
            delimiter == "\t"
            and not any("".join(row[1:]).strip() for row in rows)
            and f"{quote}\t" not in lines[-1]
        ):
            continue  # tabs at the ends of lines are white space
        width, agreeing = Counter(map(len, rows)).most_common(1)[0]
        if width == 1:
            continue
        cells = [cell for row in rows if len(row) == width for cell in row]
        score = agreeing / len(rows) * _plausible(cells, delimiter) + min(width, 20) / 100
        if score > best_score:
            best, best_score = delimiter, score
    return best or _unusual(lines, quote)


def is_spaced(lines: Sequence[str], quote: str) -> bool:
    """Return whether blanks stand between a delimiter, or the begin of a line, and a quote."""
    if not quote:
        return False
    before_quote = re.compile(rf"(?:^|[{re.escape(''.join(DELIMITERS))}]) +{quote}")
    return any(before_quote.search(line) for line in lines)


def rows_of(
    lines: Iterable[str], delimiter: str | None, quote: str | None, *, spaced: bool = False
) -> RowReader:
    """Return the rows of these lines; where cells are `spaced`, blanks before a quote are none of the cell."""
    if spaced:
        lines = ("\n" if line.isspace() else line for line in lines)  # a blank line is no empty cell
    if delimiter == "  ":
        lines, delimiter = (re.sub(r" {2,}", "\t", line.strip(" ")) for line in lines), "\t"
    return csv.reader(
        lines,
        delimiter=delimiter or NO_DELIMITER,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        skipinitialspace=spaced and delimiter != " ",
    )


def split(lines: list[str], delimiter: str | None, quote: str) -> list[list[str]]:
    """Return the rows of these lines that are not blank."""
    rows: list[list[str]] = []
    reader = rows_of(lines, delimiter, quote, spaced=is_spaced(lines, quote))
    with suppress(csv.Error):  # reading the whole will tell
        rows.extend(row for row in reader if row and any(cell.strip() for cell in row))
    return rows


def is_wrapped(rows: Sequence[Row], quote: str) -> bool:
    """Return whether each line stands in quotes as a whole: what seems to be its only cell is a row under headings."""
    lines = [row[0] for row in rows if len(row) == 1]
    if len(lines) < max(2, len(rows)):
        return False
    for delimiter in DELIMITERS:
        head, *body = split(lines, delimiter, quote) or [[]]
        if len(head) > 1 and all(map(words.is_heading, head)) and {len(row) for row in body} == {len(head)}:
            return True
    return False


def _plausible(cells: Sequence[str], delimiter: str) -> float:
    """Return the part of cells that look like whole ones: no other delimiter in them, and no sentence."""
    others = [sign for sign in DELIMITERS if sign != delimiter]
    marks = 0.0
    for cell in cells:
        if any(sign in cell for sign in others) and not NUMBER.fullmatch(cell.strip()):
            marks += 0.6
        elif len(cell.split()) >= PROSE_WORDS:
            marks += 0.5
        else:
            marks += 1
    return marks / len(cells)


def _unusual(lines: list[str], quote: str) -> str | None:
    filled = [line for line in lines if line.strip()]
    for delimiter in UNUSUAL:
        if len(filled) < 2 or delimiter not in filled[0].strip():  # noqa: PLR2004  (a header and a row)
            continue
        rows = split(filled, delimiter, quote)
        width, agreeing = Counter(map(len, rows)).most_common(1)[0]
        heads = [cell.strip() for cell in rows[0]]
        clear = all(head and not any(map(str.isdigit, head)) for head in heads) and any(
            map(words.has_heading_word, heads)
        )
        if width > 1 and len(heads) == width and agreeing >= 0.9 * len(rows) and clear:
            return delimiter
    return None


def is_blank(row: Row) -> bool:
    """Return whether a row is that of a blank line."""
    return not row or (len(row) == 1 and row[0] != "" and not row[0].strip())
