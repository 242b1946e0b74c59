"""The rows of a spreadsheet's sheet, as texts."""

from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import cells, formats, questions, workbook
from app.domain.imports.reader.workbook import Workbook

MAX_BYTES = 64 * 1024**2
"""Most bytes of a spreadsheet file, which is read as a whole; a million codes take some 15 MiB."""


def rows(
    file: BinaryIO, wanted: str | int | None = None, doubtful: Collection[str] = ()
) -> Iterator[list[str]]:
    """Yield the rows of a sheet, empty ones included, so that the n-th is line n.

    Args:
        file: the spreadsheet.
        wanted: the sheet, by name or index; else the only visible one that holds anything.
        doubtful: the members of the file in which errors, formulas without a value or formats of numbers may be.

    Raises:
        UnreadableError: it is too large or damaged, needs a password or has no sheet.
        ImportUndecidedError: several sheets hold something, or there is none as wanted.
    """
    file.seek(0)
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"A spreadsheet has at most {MAX_BYTES // 1024**2} MiB; save it as CSV.")
    with workbook.opened(content) as book:
        del content
        index = _sheet(book, wanted)
        first_column, texts = book.rows(index)
        texts = formats.shown(file, index, doubtful, first_column, texts)
        found = cells.found(file, index, doubtful)
        yield from cells.laid_over(texts, first_column, found) if found else texts


def _sheet(book: Workbook, wanted: str | int | None) -> int:
    """Return the index of the sheet to read; what is hidden is read only where it is named."""
    names = [name for name, _ in book.sheets]
    if wanted is not None:
        if wanted in names:
            return names.index(str(wanted))
        if str(wanted).isdecimal() and int(wanted) < len(names):
            return int(wanted)
        said = f"There is no sheet {wanted!r}; the sheets are {', '.join(map(repr, names))}."
        raise questions.no_sheet(said, _described(book, range(len(names))))
    if len(names) < 2:  # noqa: PLR2004  (then there is nothing to choose)
        return 0
    shown = [index for index, (_, is_seen) in enumerate(book.sheets) if is_seen]
    filled = [index for index in shown if book.holds_anything(index)]
    if len(filled) > 1:
        questions.ask([questions.which_sheet(_described(book, filled))])
    return (filled or shown or [0])[0]


def _described(book: Workbook, indexes: Iterable[int]) -> list[questions.Sheet]:
    return [
        {"index": index, "name": book.sheets[index][0], "first_row": book.first_row(index)}
        for index in list(indexes)[: questions.MOST_COLUMNS]
    ]
