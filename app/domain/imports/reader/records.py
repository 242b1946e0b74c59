"""The rows of a file under the names of its columns, for imports of other things than codes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from app.domain.imports.reader.columns import name_of
from app.domain.imports.reader.dialect import is_blank
from app.domain.imports.reader.marks import BROKEN, LOST, UNSAVED
from app.domain.imports.reader.table import Format, open_table
from app.domain.imports.reader.unmarked import Marks, code_of, is_destroyed


@dataclass(frozen=True, slots=True)
class Records:
    """A header, and the rows below it with the line in which each begins."""

    header: list[str]
    rows: Iterator[tuple[int, list[str]]]
    marks: Marks
    lost: str = LOST
    """Stands before a number whose last digits a spreadsheet has lost."""
    without_value: tuple[str, ...] = (BROKEN, UNSAVED)
    """What stands before errors, and before formulas whose value was not saved."""

    def id_in(self, cell: str) -> str | None:
        """Return the id in a cell, without the marks of spreadsheets; None where one has rounded it."""
        id_ = code_of(cell, self.marks)
        return None if is_destroyed(id_, self.marks) else id_


def open_records(
    file: BinaryIO,
    delimiter: str | None,
    encoding: str | None,
    names: Collection[str],
    sheet: str | None = None,
) -> Records:
    """Open a file whose first row names the columns; the row that holds one of the `names` is that, where there is one.

    Raises:
        UnreadableError: it is no table that can be read. Reading on may raise it, too.
    """
    table = open_table(file, Format(encoding, delimiter, has_header=True, sheet=sheet), names)
    header = [name_of(cell) for cell in table.header or []]
    while header and not header[-1]:
        header.pop()

    def rows() -> Iterator[tuple[int, list[str]]]:
        for batch in table.batches:
            for line, row in zip(batch.lines, batch.rows, strict=True):
                if not is_blank(row):
                    yield line, row if any(row[len(header) :]) else row[: len(header)]

    return Records(header, rows(), table.marks)
