"""Numbers as an XLSX file shows them: by the format `00000000` with zeros in front, by `"GC-"0000` with a text, too.

The library gives the bare number, in which a code has lost what people see of it. Formats are looked for where a file
has any of its own; only then its sheet is read a second time, for which cells have one of these.
"""

import re
import zipfile
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from app.domain.imports.reader.sheet_xml import Place, local, look_through, member_of

STYLES = "xl/styles.xml"
LONGEST = 255
"""Characters of a format, as spreadsheet programs keep it."""
_PIECE = re.compile(r'\[\$-[0-9A-Fa-f]+\]|"([^"]*)"|\\(.)|([-+() :]+)|(0+)', re.DOTALL)
"""A language, which shows nothing; a text, a sign or signs that stand for themselves; places of digits."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A format of places for digits and of what stands between them."""

    pieces: tuple[tuple[str, bool], ...]
    """Text or zeros, and whether these are the places of digits."""

    def of(self, number: str) -> str:
        """Return a whole number as it is shown; the first places take the digits that are too many."""
        places = sum(len(text) for text, is_digits in self.pieces if is_digits)
        digits = number.zfill(places)
        at, text = len(digits) - places, ""
        begun = False
        for piece, is_digits in self.pieces:
            if is_digits:
                text += digits[at if begun else 0 : at + len(piece)]
                at, begun = at + len(piece), True
            else:
                text += piece
        return text


def shown_by(code: str) -> Shown | None:
    """Return what a format shows of a number, where that is each digit, and more than the digits; else None."""
    pieces: list[tuple[str, bool]] = []
    at = len(code) if len(code) > LONGEST else 0
    while at < len(code) and code[at] != ";":  # what follows is for numbers below 0, for 0 and for texts
        found = _PIECE.match(code, at)
        if found is None:
            return None
        at = found.end()
        pieces += [(text, text == found[4]) for text in found.groups() if text]
    digits = sum(len(text) for text, is_digits in pieces if is_digits)
    return Shown(tuple(pieces)) if digits and (digits > 1 or len(pieces) > 1) else None


def may_hold(member: str, piece: bytes) -> bool:
    """Return whether such a format may be in this piece of a member of a spreadsheet file."""
    return member == STYLES and b"formatCode=" in piece


def shown(
    file: BinaryIO, sheet: int, doubtful: Collection[str], first_column: int, rows: Iterator[list[str]]
) -> Iterator[list[str]]:
    """Yield the rows of a sheet, which begin at a column, with numbers as they are shown.

    Raises:
        UnreadableError: the file is damaged.
    """
    runs = _runs_of(file, sheet) if STYLES in doubtful else {}
    if not runs:
        yield from rows
        return
    for number, row in enumerate(rows):
        for column, following in runs.items():
            place = column - first_column
            while following and following[0].end < number:
                following.popleft()
            if (
                following
                and following[0].begin <= number
                and 0 <= place < len(row)
                and row[place].isdecimal()
            ):
                row[place] = following[0].format.of(row[place])
        yield row


@dataclass(slots=True)
class _Run:
    """Rows that follow each other, from 0, in which a column has a format."""

    begin: int
    end: int
    format: Shown


def _runs_of(file: BinaryIO, sheet: int) -> dict[int, deque[_Run]]:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        styles = _Styles()
        look_through(archive, STYLES, styles)
        member = member_of(archive, sheet)
        looking = _Sheet(
            {str(style): styles.known[used] for style, used in enumerate(styles.used) if used in styles.known}
        )
        if looking.formats and member in archive.namelist():
            look_through(archive, member or "", looking)
        return looking.runs


@dataclass(slots=True)
class _Styles:
    """The formats of a file, and which of them each style of cells has."""

    known: dict[str, Shown] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    in_cells: bool = False

    def start(self, element: str, attributes: dict[str, str]) -> None:
        name = local(element)
        if name == "numFmt" and (found := shown_by(attributes.get("formatCode", ""))):
            self.known[attributes.get("numFmtId", "")] = found
        elif name == "cellXfs":
            self.in_cells = True
        elif name == "xf" and self.in_cells:
            self.used.append(attributes.get("numFmtId", ""))

    def text(self, data: str) -> None:
        """Nothing is said in texts."""

    def end(self, element: str) -> None:
        if local(element) == "cellXfs":
            self.in_cells = False


@dataclass(slots=True)
class _Sheet:
    """Which cells of numbers have one of these formats, by column."""

    formats: Mapping[str, Shown]
    runs: dict[int, deque[_Run]] = field(default_factory=dict)
    place: Place = field(default_factory=Place)

    def start(self, element: str, attributes: dict[str, str]) -> None:
        name = local(element)
        self.place.enter(name, attributes)
        if name == "c" and attributes.get("t", "n") == "n":
            found = self.formats.get(attributes.get("s", ""))
            if found is not None:
                self._note(found, self.place.row)

    def _note(self, found: Shown, row: int) -> None:
        runs = self.runs.setdefault(self.place.column, deque())
        if runs and runs[-1].end == row - 1 and runs[-1].format is found:
            runs[-1].end = row
        else:
            runs.append(_Run(row, row, found))

    def text(self, data: str) -> None:
        """Nothing is asked of texts."""

    def end(self, element: str) -> None:
        """Nothing is asked of ends."""
