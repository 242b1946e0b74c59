"""How the rows of a text are written: delimiter, quote, header, and the column most likely to hold codes."""

import csv
import re
import statistics
from collections import Counter
from collections.abc import Sequence

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_ROWS = 200

# Names of a column of codes, in the languages of those who sent us files; letters only, lower case.
CODE_NAMES = re.compile(
    r"(voucher|coupon|promo|gutschein|rabatt|cup[oó]n|kup[oó]n|poukaz|aktion|discount)(s|code|codes|k[oó]d)?"
    r"|codes?|k[oó]dy?|codigo|código|codice"
)
OTHER_CODES = re.compile(
    r"country|currency|zip|post|product|article|status|area|lang|store|sku|plz", re.IGNORECASE
)
DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T].*)?")
NUMBER = re.compile(r"[-+]?\d{1,3}([., ]?\d{3})*([.,]\d+)?\s?[%€$£]?|\d{1,5}")

Row = Sequence[str]


def quote_of(lines: list[str]) -> str:
    """The quote of a text: the double one, unless cells clearly stand in single ones."""
    stripped = [line.strip() for line in lines if line.strip()]
    single = sum(line.startswith("'") and line.endswith("'") for line in stripped)
    return "'" if stripped and single > len(stripped) / 2 else '"'


def delimiter_of(lines: list[str], quote: str) -> str | None:
    """The delimiter of a text, or None for a single column: the one that gives most rows the same width."""
    best, best_score = None, 0.5
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(lines, delimiter=delimiter, quotechar=quote) if row]
        if not rows or (delimiter == "\t" and not any("".join(row[1:]).strip() for row in rows)):
            continue  # tabs at the ends of lines are white space
        width, agreeing = Counter(map(len, rows)).most_common(1)[0]
        score = agreeing / len(rows) + min(width, 20) / 100
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def is_blank(row: Row) -> bool:
    """Whether a row is that of a blank line."""
    return not row or (len(row) == 1 and row[0] != "" and not row[0].strip())


def has_header(rows: Sequence[Row]) -> bool:
    """Whether the first row names the columns. It is a row of codes where it looks like the others."""
    if not rows:
        return False
    if any(_is_code_name(cell) for cell in rows[0]):
        return True
    votes = 0
    for index, cell in enumerate(rows[0]):
        body = [row[index] for row in rows[1:] if len(row) > index and row[index].strip()]
        if not body:
            continue
        shapes = {_shape(value) for value in body}
        if _shape(cell) in shapes:
            votes -= 1
        elif not any(map(str.isdigit, cell)) and (
            all(any(map(str.isdigit, value)) for value in body) or len(shapes) == 1
        ):
            votes += 1
    return votes > 0


def suggest(header: Row | None, rows: Sequence[Row]) -> int:
    """The index of the column that most likely holds the codes."""
    width = max(map(len, [*rows, header or []]), default=1)
    scores = [
        _score(
            header[index] if header and index < len(header) else "",
            [row[index].strip() if index < len(row) else "" for row in rows],
        )
        for index in range(width)
    ]
    return scores.index(max(scores)) if scores else 0


def _score(name: str, values: list[str]) -> float:
    filled = [value for value in values if value]
    score = 3.0 * _is_code_name(name) + 1.5 * bool(re.search(r"code|k[oó]d", name, re.IGNORECASE))
    score -= 4.0 * bool(OTHER_CODES.search(name))
    if not filled:
        return score - (3 if values else 0)
    share = len(filled)
    score += 2 * len(set(filled)) / share + share / len(values)
    score += (
        sum(
            re.search(r"\d", value) is not None and re.search(r"[^\W\d]", value) is not None
            for value in filled
        )
        / share
    )
    score -= 2 * sum(" " in value or "@" in value or "://" in value for value in filled) / share
    score -= 3 * sum(DATE.fullmatch(value) is not None for value in filled) / share
    score -= 1.5 * sum(NUMBER.fullmatch(value) is not None for value in filled) / share
    return score + (4 <= statistics.median(map(len, filled)) <= 64)  # noqa: PLR2004  (usual lengths of codes)


def _is_code_name(cell: str) -> bool:
    return CODE_NAMES.fullmatch(re.sub(r"[^a-zà-ž]", "", cell.lower())) is not None and not re.search(
        r"\d", cell
    )


def _shape(cell: str) -> str:
    """`SAVE-10` as `AAAA-99`."""
    return re.sub(r"[^\W\d_]", "A", re.sub(r"\d", "9", cell.strip()))
