"""Cells that the library reads as empty and that are not: errors such as `#REF!`, and formulas without a saved value.

They are looked for by a few bytes while a spreadsheet is unpacked to know its size. Only a sheet that has such bytes is
read a second time, by expat, and only for these cells. Binary sheets have a reader of their own.
"""

import re
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import binary_cells, compound
from app.domain.imports.reader.marks import BROKEN, UNSAVED
from app.domain.imports.reader.sheet_xml import Place, local, look_through, member_of

MAX_CELLS = 100_000
"""Most such cells of a sheet: one that has more was never calculated."""
MOST_ROWS, MOST_COLUMNS = 1024**2, 16 * 1024
"""Of any sheet of any spreadsheet program."""
MAX_REPEATED = 1000
"""Most columns that a cell of an OpenDocument sheet stands for."""
OVERLAP = 256
"""Bytes of a block that are looked at with the next one."""
_OPEN_DOCUMENT = "content.xml"
_NO_VALUE = re.compile(
    rb"(?:</(?:\w+:)?f>|<(?:\w+:)?f(?:\s[^<>]*)?/>)\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</|</(?:\w+:)?c>)"
)
_NO_TYPE = re.compile(rb"<table:table-cell(?=[^<>]*table:formula=)(?![^<>]*value-type=)")

Found = dict[int, dict[int, str]]
"""What the cells show, with their mark: by row and column, each from 0."""


def may_hold(member: str, piece: bytes) -> bool:
    """Return whether such a cell may be in this piece of a member of a spreadsheet file."""
    if member == _OPEN_DOCUMENT:
        return b'value-type="error"' in piece or (
            b"table:formula=" in piece and _NO_TYPE.search(piece) is not None
        )
    if not member.startswith("xl/worksheets/"):
        return False
    if member.endswith(".bin"):
        return binary_cells.may_hold_xlsb(piece)
    return b't="e"' in piece or ((b"<f" in piece or b":f" in piece) and _NO_VALUE.search(piece) is not None)


def found(file: BinaryIO, sheet: int, doubtful: Collection[str]) -> Found:
    """Return such cells of a sheet, where its member of the file is among the `doubtful` ones.

    Raises:
        UnreadableError: there are too many.
    """
    file.seek(0)
    is_old = file.read(len(compound.BEGINNING)) == compound.BEGINNING
    file.seek(0)
    if is_old:
        return _kept(binary_cells.errors_of_xls(file.read(), sheet))
    if not doubtful:
        return {}
    with zipfile.ZipFile(file) as archive:
        member = _OPEN_DOCUMENT if _OPEN_DOCUMENT in doubtful else member_of(archive, sheet)
        if member is None or member not in doubtful:
            return {}
        if member.endswith(".bin"):
            return _kept(binary_cells.errors_of_xlsb(archive.read(member)))
        looking = _OpenDocument(sheet=sheet) if member == _OPEN_DOCUMENT else _Sheet()
        look_through(archive, member, looking)
        return looking.found


def laid_over(rows: Iterator[list[str]], first_column: int, found: Found) -> Iterator[list[str]]:
    """Yield the rows, which begin at a column, with these cells put where they stand."""
    left = min([first_column, *(min(row) for row in found.values())])
    number = -1
    for number, row in enumerate(rows):
        yield _laid([""] * (first_column - left) + row, left, found.get(number, {}))
    for beyond in range(number + 1, max(found, default=-1) + 1):
        yield _laid([], left, found.get(beyond, {}))


def _kept(cells: Iterable[binary_cells.Cell]) -> Found:
    looking = _Looking()
    for row, column, text in cells:
        looking.keep(row, column, text)
    return looking.found


def _laid(row: list[str], left: int, cells: dict[int, str]) -> list[str]:
    for column, text in cells.items():
        row += [""] * (column - left + 1 - len(row))
        row[column - left] = text
    return row


@dataclass(slots=True)
class _Looking:
    found: Found = field(default_factory=dict)
    count: int = 0

    def keep(self, row: int, column: int, text: str) -> None:
        if not (0 <= row < MOST_ROWS and 0 <= column < MOST_COLUMNS):
            raise UnreadableError(
                "The spreadsheet cannot be read: it has a cell beyond the last row or column."
            )
        self.count += 1
        if self.count > MAX_CELLS:
            raise UnreadableError(
                f"More than {MAX_CELLS} cells of the sheet are errors, or formulas whose value was not saved. Open it"
                " in a spreadsheet program, let it calculate, and save it again."
            )
        self.found.setdefault(row, {})[column] = text


@dataclass(slots=True)
class _Sheet(_Looking):
    """A sheet of XLSX: `row`, in it `c`, in it a formula `f` and a value `v`."""

    place: Place = field(default_factory=Place)
    kind: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    inside: str = ""

    def start(self, element: str, attributes: dict[str, str]) -> None:
        name = local(element)
        self.place.enter(name, attributes)
        if name == "c":
            self.kind = attributes.get("t", "")
            self.texts = {}
        elif name in {"f", "v"}:
            self.inside = name
            self.texts[name] = ""

    def text(self, data: str) -> None:
        if self.inside:
            self.texts[self.inside] += data

    def end(self, element: str) -> None:
        name = local(element)
        if name in {"f", "v"}:
            self.inside = ""
        elif name == "c" and self.kind == "e":
            self.keep(self.place.row, self.place.column, BROKEN + (self.texts.get("v") or "#VALUE!"))
        elif name == "c" and "f" in self.texts and self.kind != "str" and not self.texts.get("v"):
            self.keep(self.place.row, self.place.column, f"{UNSAVED}={self.texts['f']}")


@dataclass(slots=True)
class _OpenDocument(_Looking):
    """A sheet of OpenDocument: rows and cells may stand for several."""

    sheet: int = 0
    table: int = -1
    row: int = 0
    rows: int = 0
    column: int = 0
    columns: int = 0
    mark: str = ""
    shown: str = ""

    def start(self, element: str, attributes: dict[str, str]) -> None:
        name = local(element)
        if name == "table":
            self.table += 1
            self.row = self.rows = 0
        elif name == "table-row":
            self.row += self.rows
            self.rows = int(attributes.get("table:number-rows-repeated", 1))
            self.column = self.columns = 0
        elif name in {"table-cell", "covered-table-cell"}:
            self.column += self.columns
            self.columns = int(attributes.get("table:number-columns-repeated", 1))
            formula = attributes.get("table:formula", "")
            self.shown, self.mark = "", ""
            if "error" in {attributes.get("calcext:value-type"), attributes.get("office:value-type")}:
                self.mark = BROKEN
            elif formula and "office:value-type" not in attributes:
                self.mark, self.shown = UNSAVED, "=" + formula.partition("=")[2]

    def text(self, data: str) -> None:
        if self.mark == BROKEN:
            self.shown += data.strip()

    def end(self, element: str) -> None:
        if self.mark and local(element) in {"table-cell", "covered-table-cell"}:
            if self.table == self.sheet:
                for row in range(self.row, self.row + min(self.rows, MAX_CELLS + 1)):
                    for column in range(self.column, self.column + min(self.columns, MAX_REPEATED)):
                        self.keep(row, column, self.mark + (self.shown or "#VALUE!"))
            self.mark = ""
