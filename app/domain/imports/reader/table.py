"""A file as a table: how it is written, what is in it, and its rows as a stream."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, BinaryIO

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import decode, dialect, spreadsheet, unpack

SAMPLE_BYTES = 1024**2
BATCH_ROWS = 10_000
MAX_UNPACKED = 16 * 1024**3
"""Most bytes that a packed file may hold."""
MAX_UNPACKED_SPREADSHEET = 1024**3
NO_DELIMITER = "\uffff"
"""Stands in no text, by the rules of Unicode."""
_END = ["\x00 end \x00"]
"""Put after the last line: a quote that was never closed swallows it, and is thereby found out."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a text is written; None where it is to be found out."""

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    has_header: bool | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows, and the line in which each begins."""

    lines: Iterable[int]
    rows: list[list[str]]


@dataclass(slots=True)
class Table:
    """An opened file."""

    format: Format
    header: list[str] | None
    first_rows: list[list[str]]
    suggested: int
    batches: Iterator[Batch] = field(repr=False)
    """The rows below the header. Blank lines are no rows, but count as lines."""

    def column(self, wanted: str | int | None) -> int:
        """The index of a column, by its name or index; the suggested one for None.

        Raises:
            UnreadableError: there is no such column.
        """
        if wanted is None:
            return self.suggested
        names = [name.strip() for name in self.header or []]
        if wanted in names:
            return names.index(str(wanted))
        width = max(map(len, [names, *self.first_rows]), default=0)
        if str(wanted).isdecimal() and int(wanted) < width:
            return int(wanted)
        known = (
            ", ".join(map(repr, names)) if names else f"0 to {width - 1}, by index, for there is no header"
        )
        raise UnreadableError(f"There is no column {wanted!r}; the columns are {known}.")


def open_table(file: BinaryIO, wanted: Format) -> Table:
    """Open a file, finding out what `wanted` leaves open.

    Raises:
        UnreadableError: it is empty, binary, damaged or not written as said. Reading on may raise it, too.
    """
    if unpack.kind_of(file) == unpack.SPREADSHEET:
        unpack.check_spreadsheet(file, MAX_UNPACKED_SPREADSHEET)
        rows = spreadsheet.rows(file)
        sample = list(islice(rows, dialect.SAMPLE_ROWS))
        return _table(Format(has_header=wanted.has_header), sample, _counted(chain(sample, rows)))
    blocks = unpack.unpacked(file, MAX_UNPACKED)
    start = b"".join(_first(blocks, SAMPLE_BYTES))
    found = _found(start, wanted)
    assert found.encoding is not None  # noqa: S101  (narrows the type)
    text = decode.lines(chain([start], blocks), found.encoding, guessed=wanted.encoding is None)
    reader = csv.reader(
        chain(text, _END),
        delimiter=found.delimiter or NO_DELIMITER,
        quotechar=found.quote or None,
        quoting=csv.QUOTE_MINIMAL if found.quote else csv.QUOTE_NONE,
    )
    sample = [row for row in csv.reader(_sample_lines(start, found.encoding), reader.dialect) if row]
    return _table(found, sample[: dialect.SAMPLE_ROWS], _parsed(reader))


def _first(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Blocks until there are `size` bytes of them."""
    while size > 0 and (block := next(blocks, b"")):
        size -= len(block)
        yield block


def _found(start: bytes, wanted: Format) -> Format:
    if not start.strip():
        raise UnreadableError("The file is empty.")
    encoding = wanted.encoding or decode.detect(start)
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise UnreadableError(f"There is no encoding {encoding!r}.") from error
    lines = _sample_lines(start, encoding)
    strange = sum(
        not character.isprintable() and not character.isspace() for character in "".join(lines)[:65536]
    )
    if strange > len("".join(lines)[:65536]) / 20:
        raise UnreadableError(
            "The file is binary: no text, and no archive or spreadsheet that can be opened."
        )
    quote = dialect.quote_of(lines) if wanted.quote is None else wanted.quote
    delimiter = wanted.delimiter or dialect.delimiter_of(lines, quote or '"')
    return Format(encoding, delimiter, quote, wanted.has_header)


def _sample_lines(start: bytes, encoding: str) -> list[str]:
    """The first lines, as far as they can be decoded; the last one may be cut and is left out."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start)
    lines = list(islice(io.StringIO(text, newline=""), 5 * dialect.SAMPLE_ROWS))
    return lines[:-1] if len(start) >= SAMPLE_BYTES and len(lines) > 1 else lines


def _table(found: Format, sample: list[list[str]], batches: Iterator[Batch]) -> Table:
    rows = [row for row in sample if not dialect.is_blank(row)]
    if not rows:
        raise UnreadableError("The file is empty.")
    headed = dialect.has_header(rows) if found.has_header is None else found.has_header
    header, body = (rows[0], rows[1:]) if headed else (None, rows)
    return Table(
        Format(found.encoding, found.delimiter, found.quote, headed),
        header,
        body[:5],
        dialect.suggest(header, body),
        _below(batches) if headed else batches,
    )


def _below(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches without their first row."""
    for batch in batches:
        first = next((n for n, row in enumerate(batch.rows) if not dialect.is_blank(row)), None)
        if first is not None:
            yield Batch(list(batch.lines)[first + 1 :], batch.rows[first + 1 :])
            break
    yield from batches


def _parsed(reader: Any) -> Iterator[Batch]:
    while True:
        first = reader.line_num + 1
        rows: list[list[str]] = []
        try:
            rows.extend(islice(reader, BATCH_ROWS))  # keeps what came before an error
        except csv.Error as error:
            line = first + sum(map(_height, rows))
            raise UnreadableError(
                f"Line {line} is no row: {error}. Is a quote opened there and never closed?"
            ) from error
        ended = bool(rows) and rows[-1] == _END
        if ended:
            rows.pop()
        elif len(rows) < BATCH_ROWS:
            line = first + sum(map(_height, rows[:-1]))
            raise UnreadableError(f"A quote that is opened in line {line} is never closed.")
        yield _batch(first, rows, plain=reader.line_num - first + 1 - ended == len(rows))
        if ended:
            return


def _batch(first: int, rows: list[list[str]], *, plain: bool) -> Batch:
    lines: Iterable[int] = range(first, first + len(rows))
    if not plain:
        lines, line = [], first
        for row in rows:
            lines.append(line)
            line += _height(row)
    if not all(rows):
        kept = [(line, row) for line, row in zip(lines, rows, strict=True) if row]
        return Batch([line for line, _ in kept], [row for _, row in kept])
    return Batch(lines, rows)


def _height(row: list[str]) -> int:
    """The lines that a row takes: more than one where a quoted cell holds line breaks."""
    text = "".join(row)
    return 1 + text.count("\n") + text.count("\r") - text.count("\r\n")


def _counted(rows: Iterator[list[str]]) -> Iterator[Batch]:
    first = 1
    while batch := list(islice(rows, BATCH_ROWS)):
        blank_left_out = [row if any(cell.strip() for cell in row) else [] for row in batch]
        yield _batch(first, blank_left_out, plain=True)
        first += len(batch)
