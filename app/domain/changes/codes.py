"""The codes in an uploaded file, read as an import reads them."""

from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

from anyio import to_thread

from app.domain.imports.reader.table import Format, Table, open_table
from app.domain.imports.reader.unmarked import code_of
from app.schema.inventory import MAX_CODE_LENGTH


def opened(file: BinaryIO, column: str | None) -> tuple[Table, int]:
    """Open a file of codes; the table, and the column that holds them.

    Raises:
        UnreadableError: it is no table.
        ImportUndecidedError: it does not show which column holds the codes.
    """
    table = open_table(file, Format(), () if column is None else (column,))
    return table, table.column(column)


async def read(table: Table, place: int) -> AsyncIterator[list[str]]:
    """Yield the codes of a table, some thousand at a time; what can be no code is passed over."""
    batches = _codes(table, place)
    while (some := await to_thread.run_sync(next, batches, None)) is not None:
        if some:
            yield some


def _codes(table: Table, place: int) -> Iterator[list[str]]:
    for batch in table.batches:
        cells = (code_of(row[place], table.marks) for row in batch.rows if len(row) > place)
        yield [code for code in cells if 0 < len(code) <= MAX_CODE_LENGTH and "\0" not in code]
