"""The XML of spreadsheets, read by expat: for what the library does not tell of a sheet."""

import posixpath
import zipfile
from dataclasses import dataclass
from typing import Protocol
from xml.parsers import expat

from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader import binary_cells

BLOCK = 256 * 1024


class Looking(Protocol):
    """Looks at the elements of a member as they come."""

    def start(self, element: str, attributes: dict[str, str]) -> None:
        """Look at the begin of an element."""

    def text(self, data: str) -> None:
        """Look at text, or a part of it."""

    def end(self, element: str) -> None:
        """Look at the end of an element."""


def look_through(archive: zipfile.ZipFile, member: str, looking: Looking) -> None:
    """Read a member from front to back.

    Raises:
        UnreadableError: it is no XML, or a number in it is none.
    """
    parser = expat.ParserCreate()
    parser.StartElementHandler = looking.start
    parser.EndElementHandler = looking.end
    parser.CharacterDataHandler = looking.text
    try:
        with archive.open(member) as content:
            while block := content.read(BLOCK):
                parser.Parse(block)
    except (expat.ExpatError, ValueError) as error:  # ValueError: a number that is none
        raise UnreadableError(f"The spreadsheet cannot be read: {error}.") from error


def member_of(archive: zipfile.ZipFile, sheet: int) -> str | None:
    """Return the member of an XLSX or XLSB file that holds a sheet."""
    binary = "xl/workbook.bin" in archive.namelist()
    ids = (
        binary_cells.sheet_ids_of_xlsb(archive.read("xl/workbook.bin"))
        if binary
        else [
            next((value for name, value in attributes.items() if local(name) == "id"), "")
            for attributes in _elements(archive, "xl/workbook.xml", "sheet")
        ]
    )
    targets = {
        one.get("Id"): one.get("Target", "")
        for one in _elements(archive, f"xl/_rels/workbook.{'bin' if binary else 'xml'}.rels", "Relationship")
    }
    target = targets.get(ids[sheet]) if sheet < len(ids) else None
    return target and posixpath.normpath(posixpath.join("xl", target) if target[0] != "/" else target[1:])


def _elements(archive: zipfile.ZipFile, member: str, name: str) -> list[dict[str, str]]:
    kept: list[dict[str, str]] = []
    parser = expat.ParserCreate()

    def start(element: str, attributes: dict[str, str]) -> None:
        if local(element) == name:
            kept.append(attributes)

    parser.StartElementHandler = start
    try:
        parser.Parse(archive.read(member), True)
    except (KeyError, expat.ExpatError):
        return []
    return kept


def local(name: str) -> str:
    """Return the name of an element without what it belongs to."""
    return name.rpartition(":")[2]


@dataclass(slots=True)
class Place:
    """The cell of an XLSX sheet that was come to last; one that does not say where it is follows the one before."""

    row: int = -1
    column: int = -1

    def enter(self, name: str, attributes: dict[str, str]) -> None:
        """Go on to an element of this name, where it is a row or a cell."""
        if name == "row":
            self.row = int(attributes["r"]) - 1 if "r" in attributes else self.row + 1
            self.column = -1
        elif name == "c":
            self.column = _column_of(attributes["r"]) if "r" in attributes else self.column + 1


def _column_of(reference: str) -> int:
    """Return the column of a cell such as `B7`, from 0."""
    number = 0
    for letter in reference.rstrip("0123456789"):
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
