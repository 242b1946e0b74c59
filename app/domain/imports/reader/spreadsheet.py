"""The rows of a spreadsheet's first sheet, as texts."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import BinaryIO

from python_calamine import CalamineError, CalamineWorkbook

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader.marks import LOST

MAX_BYTES = 64 * 1024**2
"""Most bytes of a spreadsheet file, which is read as a whole; a million codes take some 15 MiB."""

KEPT = 10**15
"""Numbers below are kept by a spreadsheet to the last digit."""


def rows(file: BinaryIO) -> Iterator[list[str]]:
    """Yield the rows of the first sheet, empty ones included, so that the n-th is line n.

    Raises:
        UnreadableError: it is too large or damaged, needs a password or has no sheet.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"A spreadsheet has at most {MAX_BYTES // 1024**2} MiB; save it as CSV.")
    file.seek(0)
    try:
        with CalamineWorkbook.from_filelike(file) as workbook:
            sheet = workbook.get_sheet_by_index(0)
            for _ in range(sheet.start[0] if sheet.start else 0):
                yield []
            for row in sheet.iter_rows():
                yield [_text(cell) for cell in row]
    except (CalamineError, OSError, ValueError) as error:
        raise UnreadableError(f"The spreadsheet cannot be read: {error}.") from error


def _text(cell: object) -> str:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool) and abs(cell) >= KEPT:
        return f"{LOST}{cell:.0f}"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # a code of digits, which a spreadsheet keeps as a number
    if isinstance(cell, bool):
        return str(cell).upper()  # as the spreadsheet shows it
    if isinstance(cell, (date, datetime)):
        return cell.isoformat()
    return str(cell)
