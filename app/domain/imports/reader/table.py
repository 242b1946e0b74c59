"""A file as a table: how it is written, what is in it, and its rows as a stream."""

import codecs
import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import BinaryIO, cast

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import (
    columns,
    decode,
    dialect,
    heading,
    kinds,
    questions,
    spreadsheet,
    unpack,
    values,
    words,
)
from app.domain.imports.reader.batches import END, Batch, counted, from_line, parsed
from app.domain.imports.reader.shapes import Rule
from app.domain.imports.reader.unmarked import Marks
from app.schema.texts import clean_code

SAMPLE_BYTES = 1024**2
LIKELY_BYTES = 64 * 1024
"""So many hold the first lines of most files: a text takes five times its bytes while lines are made of it."""
MAX_UNPACKED = 16 * 1024**3
"""Most bytes that a packed file may hold."""
MAX_UNPACKED_SPREADSHEET = 1024**3
OWN_EXPORTS = ("code,pool,status,",)
"""How the header of the service's own exports begins: what is in them is taken as it is."""
LIST_CELLS = 3
"""So many codes in the only line make it a list."""
LINES_OF_A_ROW = 50
"""Most lines of a row among the first ones, for it to be believed."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a text is written; None where it is to be found out."""

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    has_header: bool | None = None
    skip_lines: int | None = None
    sheet: str | int | None = None
    spaced: bool = False
    """Whether blanks before a quote are none of the cell; always found out."""


@dataclass(slots=True)
class Table:
    """An opened file."""

    format: Format
    header: list[str] | None
    first_rows: list[list[str]]
    sample: list[list[str]] = field(repr=False)
    """The first rows below the header, as many as were looked at."""
    columns: list[columns.Column]
    suggested: int | None
    """None where the file does not show which column holds the codes."""
    header_asked: questions.Question | None
    """Set where the file does not show whether it has a header."""
    skipped: list[str]
    """The lines before the table."""
    aside: int | None
    """The line of a first row that is neither a heading nor like the others."""
    own: bool
    """Whether it is an export of this service."""
    batches: Iterator[Batch] = field(repr=False)
    """The rows below the header. Blank lines are no rows, but count as lines."""

    @property
    def marks(self) -> Marks:
        """Return what may stand around its values."""
        return Marks.OWN if self.own else Marks.ANY

    def column(self, wanted: str | int | None) -> int:
        """Return the index of a column, by its name or index; that of the codes for None.

        Raises:
            ImportUndecidedError: there is no such column, or several, or the file does not show which it is.
        """
        if wanted is None:
            if self.suggested is None:
                questions.ask([questions.which_column(self.columns)])
            return cast(int, self.suggested)
        names = [columns.name_of(cell) for cell in self.header or []]
        found = [index for index, name in enumerate(names) if name == wanted]
        if len(found) == 1:
            return found[0]
        width = max(map(len, [names, *self.first_rows]), default=0)
        if _is_index(str(wanted), width):
            return int(wanted)
        if found:
            said = f"{len(found)} columns are named {wanted!r}; give the index of the one that is meant."
            raise questions.no_column(said, self.columns)
        known = (
            ", ".join(map(repr, names)) if names else f"0 to {width - 1}, by index, for there is no header"
        )
        raise questions.no_column(f"There is no column {wanted!r}; the columns are {known}.", self.columns)

    def open_questions(self, column: str | int | None) -> list[questions.Question]:
        """Return what has to be decided before the codes can be taken from this column, if any is named."""
        asked = [self.header_asked] if self.header_asked else []
        return asked + (
            [questions.which_column(self.columns)] if column is None and self.suggested is None else []
        )


def open_table(file: BinaryIO, wanted: Format, names: Collection[str] = ()) -> Table:
    """Open a file, finding out what `wanted` leaves open; a row that holds one of the `names` is its header.

    Raises:
        UnreadableError: it is empty, binary, damaged or not written as said. Reading on may raise it, too.
    """
    if unpack.kind_of(file) == unpack.SPREADSHEET:
        doubtful = unpack.check_spreadsheet(file, MAX_UNPACKED_SPREADSHEET)
        return _of_spreadsheet(file, wanted, names, doubtful)
    blocks = unpack.unpacked(file, MAX_UNPACKED)
    start = b"".join(_first(blocks, SAMPLE_BYTES))
    if unpack.is_spreadsheet(start):
        inner = io.BytesIO()
        inner.writelines(_first(chain([start], blocks), spreadsheet.MAX_BYTES + 1))
        inner.seek(0)
        doubtful = unpack.check_spreadsheet(inner, MAX_UNPACKED_SPREADSHEET)
        return _of_spreadsheet(inner, wanted, names, doubtful)
    return _of_text(start, blocks, wanted, names)


def _of_spreadsheet(
    file: BinaryIO, wanted: Format, names: Collection[str], doubtful: Collection[str]
) -> Table:
    rows = spreadsheet.rows(file, wanted.sheet, doubtful)
    for _ in range(wanted.skip_lines or 0):
        next(rows, None)
    sample = list(islice(rows, dialect.SAMPLE_ROWS))
    skip = wanted.skip_lines or 0
    numbered = [(skip + n, row) for n, row in enumerate(sample) if any(cell.strip() for cell in row)]
    form = Format(has_header=wanted.has_header, skip_lines=wanted.skip_lines)
    return _table(form, numbered, counted(chain(sample, rows), skip + 1), names, own=False)


def _of_text(start: bytes, blocks: Iterator[bytes], wanted: Format, names: Collection[str]) -> Table:
    encoding = _encoding(start, wanted)
    lines = _sample_lines(start, encoding)
    own = lines[0].lstrip("\ufeff").startswith(OWN_EXPORTS) and wanted.delimiter in {None, ","}
    if own:
        wanted = Format(encoding, ",", '"', has_header=True, skip_lines=0)
    skip, named = heading.preamble(lines) if wanted.skip_lines is None else (wanted.skip_lines, None)
    body = lines[skip:]
    quote = dialect.quote_of(body) if wanted.quote is None else wanted.quote
    delimiter = wanted.delimiter or named or dialect.delimiter_of(body, quote)
    spaced = dialect.is_spaced(body, quote)
    found = Format(encoding, delimiter, quote, wanted.has_header, wanted.skip_lines, spaced=spaced)
    text = decode.lines(chain([start], blocks), encoding, guessed=wanted.encoding is None)
    reader = dialect.rows_of(chain(islice(text, skip, None), END), delimiter, quote, spaced=spaced)
    numbered = _numbered(body, found, skip)
    if len(numbered) == 1 and len(start) < SAMPLE_BYTES and _is_list(numbered[0][1]):
        return _of_list(found, numbered[0][1], lines[:skip])
    if len(numbered) == 2 and len(start) < SAMPLE_BYTES and (below := _list_below(body, found)):  # noqa: PLR2004
        return _of_list(*below, lines[:skip])
    if delimiter is None and dialect.is_wrapped([row for _, row in numbered], quote):
        raise UnreadableError(
            f"Each line stands in quotes as a whole, and would be one cell: {numbered[0][1][0][:40]!r}."
            " Save the table anew, without quotes around its lines."
        )
    if not numbered and any(line.strip() for line in body):
        raise UnreadableError(
            f"Line {skip + 1} is no row: it is far too long, or a quote is opened there and never closed."
        )
    table = _table(found, numbered, parsed(reader, skip), names, own=own)
    table.skipped = [line.strip() for line in lines[:skip]] + table.skipped
    return table


def _numbered(lines: list[str], form: Format, skip: int) -> list[tuple[int, list[str]]]:
    """Return the rows of these lines that are not blank, each with its line from 0."""
    reader = dialect.rows_of(lines, form.delimiter, form.quote, spaced=form.spaced)
    rows, line = list[tuple[int, list[str]]](), skip
    try:
        for row in reader:
            if skip + reader.line_num - line > LINES_OF_A_ROW:
                break  # a quote that is never closed
            if any(cell.strip("\ufeff \t") for cell in row):
                rows.append((line, row))
            line = skip + reader.line_num
    except csv.Error:
        pass  # reading the whole will tell
    return rows[: dialect.SAMPLE_ROWS]


def _is_list(row: list[str]) -> bool:
    """Return whether the cells of the only row are codes of one kind."""
    cells = [clean_code(cell) for cell in row if clean_code(cell)]
    body = cells[1:] if words.is_heading(cells[0] if cells else "") else cells
    if (
        len(body) < LIST_CELLS
        or len(set(body)) < len(body)
        or values.holds(body, len(body)) not in {"codes", "numbers", "words"}
    ):
        return False
    rule = Rule(columns.shapes_of(body))
    return rule.uniform and not any(rule.is_unlike(cell) for cell in body)


def _list_below(lines: list[str], form: Format) -> tuple[Format, list[str]] | None:
    """Return the codes of the second of two lines, where the first is their heading."""
    filled = [line.strip("\ufeff \t\r\n") for line in lines if line.strip("\ufeff \t\r\n")]
    if len(filled) != 2 or form.has_header is False or not words.is_heading(clean_code(filled[0])):  # noqa: PLR2004
        return None
    first, second = filled
    for delimiter in [form.delimiter] if form.delimiter else dialect.DELIMITERS:
        for cells in dialect.split([second], delimiter, form.quote or '"'):
            if _is_list([first, *cells]):
                return replace(form, delimiter=delimiter), [first, *cells]
    return None


def _of_list(form: Format, row: list[str], skipped: list[str]) -> Table:
    """Return a table of one column, whose lines count the cells of the only row."""
    cells = [[cell] for cell in row if clean_code(cell)]
    headed = words.is_heading(clean_code(cells[0][0]))
    batch = iter([Batch(range(1, len(cells) + 1), cells)])
    numbered = list(enumerate(cells))
    table = _table(
        Format(form.encoding, form.delimiter, form.quote, headed, form.skip_lines),
        numbered,
        batch,
        (),
        own=False,
    )
    table.skipped = [line.strip() for line in skipped]
    return table


def _first(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield blocks until there are `size` bytes of them."""
    while size > 0 and (block := next(blocks, b"")):
        size -= len(block)
        yield block


def _encoding(start: bytes, wanted: Format) -> str:
    if not start.strip():
        raise UnreadableError("The file is empty.")
    kinds.refuse_bytes(start)
    try:
        encoding = decode.detect(start) if wanted.encoding is None else decode.named(wanted.encoding, start)
    except LookupError as error:
        raise UnreadableError(f"There is no encoding {wanted.encoding!r}.") from error
    text = "".join(_sample_lines(start, encoding))
    if not text.strip("\ufeff \t\r\n"):
        raise UnreadableError("The file is empty.")
    if decode.is_binary(text.replace(wanted.delimiter, " ") if wanted.delimiter else text):
        raise UnreadableError(
            "The file is binary: no text, and no archive or spreadsheet that can be opened."
        )
    kinds.refuse_text(text)
    return encoding


def _sample_lines(start: bytes, encoding: str) -> list[str]:
    """Return the first lines, as far as they can be decoded; the last one may be cut and is left out."""
    wanted = 2 * dialect.SAMPLE_ROWS
    for size in (LIKELY_BYTES, len(start)):
        text = codecs.getincrementaldecoder(encoding)("replace").decode(start[:size])
        lines = list(islice(io.StringIO(text, newline=""), wanted + 1))
        if len(lines) > wanted:
            return lines[:wanted]
    return lines[:-1] if len(start) >= SAMPLE_BYTES and len(lines) > 1 else lines


def _table(
    form: Format,
    rows: list[tuple[int, list[str]]],
    batches: Iterator[Batch],
    names: Collection[str],
    *,
    own: bool,
) -> Table:
    if not rows:
        raise UnreadableError(
            f"No row is left behind the {form.skip_lines} lines that are skipped."
            if form.skip_lines
            else "The file is empty."
        )
    is_said = form.skip_lines is not None and form.has_header is not None
    place = _named(rows, names) if form.has_header is not False and not is_said else None
    begin = (
        heading.Start(place, headed=True) if place is not None else heading.start_of(rows, form.has_header)
    )
    if form.skip_lines is not None and place is None:
        begin = heading.Start(0, begin.headed if begin.row == 0 else form.has_header)
    skipped = [" ".join(cell for cell in row if cell.strip()).strip() for _, row in rows[: begin.row]]
    table_rows = [list(row) for _, row in rows[begin.row :]]
    headed = bool(begin.headed)
    header, body = (table_rows[0], table_rows[1:]) if headed else (None, table_rows)
    described = columns.describe(header, body)
    asked = None
    if begin.headed is None and form.has_header is None:
        asked = questions.whether_header(table_rows[0], table_rows[1] if len(table_rows) > 1 else [])
    first = rows[begin.row][0] + 1
    return Table(
        Format(form.encoding, form.delimiter, form.quote, headed, form.skip_lines),
        header,
        body[:5],
        body,
        described,
        _own_column(header) if own else columns.choose(described),
        asked,
        skipped,
        first if begin.aside and not headed else None,
        own,
        from_line(batches, first, after=headed),
    )


def _own_column(header: list[str] | None) -> int:
    return (header or ["code"]).index("code")


def _named(rows: list[tuple[int, list[str]]], names: Collection[str]) -> int | None:
    """Return the first of the rows in which one of the names stands, if any.

    A number that may be the index of a column is no name for this: forms send it as text, and `0` stands in many a row.
    """
    for index, (_, row) in enumerate(rows[: heading.MAX_LEAD]):
        headings = {columns.name_of(cell) for cell in row}
        if any(name in headings and not _is_index(name, len(row)) for name in names):
            return index
    return None


def _is_index(name: str, width: int) -> bool:
    return name.isdecimal() and int(name) < width
