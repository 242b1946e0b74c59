"""The rows of a spreadsheet's sheet, as texts."""

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime
from typing import BinaryIO

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import cells, questions
from app.domain.imports.reader.marks import LOST

MAX_BYTES = 64 * 1024**2
"""Most bytes of a spreadsheet file, which is read as a whole; a million codes take some 15 MiB."""

KEPT = 10**15
"""Numbers below are kept by a spreadsheet to the last digit."""


def rows(
    file: BinaryIO, wanted: str | int | None = None, doubtful: Collection[str] = ()
) -> Iterator[list[str]]:
    """Yield the rows of a sheet, empty ones included, so that the n-th is line n.

    Args:
        file: the spreadsheet.
        wanted: the sheet, by name or index; else the only visible one that holds anything.
        doubtful: the members of the file in which errors and formulas without a value may be.

    Raises:
        UnreadableError: it is too large or damaged, needs a password or has no sheet.
        ImportUndecidedError: several sheets hold something, or there is none as wanted.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"A spreadsheet has at most {MAX_BYTES // 1024**2} MiB; save it as CSV.")
    file.seek(0)
    try:
        with CalamineWorkbook.from_filelike(file) as workbook:
            index = _sheet(workbook, wanted)
            sheet = workbook.get_sheet_by_index(index)
            texts = ([_text(cell) for cell in row] for row in sheet.iter_rows())
            found = cells.found(file, index, doubtful)
            yield from cells.laid_over(texts, sheet.start[1] if sheet.start else 0, found) if found else texts
    except (CalamineError, OSError, ValueError) as error:
        raise UnreadableError(f"The spreadsheet cannot be read: {error}.") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # the library fails so on some damaged files: nothing that catches exceptions would catch it
        raise UnreadableError("The spreadsheet cannot be read: it is damaged.") from error


def _sheet(workbook: CalamineWorkbook, wanted: str | int | None) -> int:
    """Return the index of the sheet to read; what is hidden is read only where it is named."""
    names = list(workbook.sheet_names)
    if wanted is not None:
        if wanted in names:
            return names.index(str(wanted))
        if str(wanted).isdecimal() and int(wanted) < len(names):
            return int(wanted)
        said = f"There is no sheet {wanted!r}; the sheets are {', '.join(map(repr, names))}."
        raise questions.no_sheet(said, _described(workbook, range(len(names))))
    if len(names) < 2:  # noqa: PLR2004  (then there is nothing to choose)
        return 0
    shown = [
        index
        for index, about in enumerate(workbook.sheets_metadata)
        if about.visible == SheetVisibleEnum.Visible and about.typ == SheetTypeEnum.WorkSheet
    ]
    filled = [index for index in shown if workbook.get_sheet_by_index(index).height]
    if len(filled) > 1:
        questions.ask([questions.which_sheet(_described(workbook, filled))])
    return (filled or shown or [0])[0]


def _described(workbook: CalamineWorkbook, indexes: Iterable[int]) -> list[questions.Sheet]:
    found: list[questions.Sheet] = []
    for index in list(indexes)[: questions.MOST_COLUMNS]:
        rows_ = workbook.get_sheet_by_index(index).iter_rows()
        filled = (row_ for row in rows_ if any(row_ := [_text(cell).strip() for cell in row]))
        found.append({"index": index, "name": workbook.sheet_names[index], "first_row": next(filled, [])})
    return found


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
