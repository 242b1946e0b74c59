"""Cells of binary spreadsheets that are errors: the sheets of XLS ([MS-XLS]) and of XLSB ([MS-XLSB]).

The library reads them as empty. A few bytes tell whether a sheet may hold one; only then its records are walked. (A
formula whose value was not saved cannot be told there from one that is 0 or empty.)
"""

import re
from collections.abc import Iterator
from struct import unpack_from

from app.domain.imports.reader.compound import stream_of
from app.domain.imports.reader.marks import BROKEN

_ERRORS = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
_ANY = rb"[\x00\x07\x0f\x17\x1d\x24\x2a\x2b]"

Cell = tuple[int, int, str]
"""Row and column, each from 0, and what the cell shows with its mark."""

_SHEET, _END, _BEGIN, _ERROR = 0x85, 0x0A, 0x809, 0x205
_FORMULAS = {0x06, 0x206, 0x406}
_MAY_HOLD_XLS = re.compile(
    rb"\x05\x02\x08\x00.{6}" + _ANY + rb"\x01|[\x06][\x00\x02\x04].{8}\x02." + _ANY + rb".{3}\xff\xff",
    re.DOTALL,
)

_STATE_TO_LENGTH, _NUMBER_OF_ROW, _COLUMN_TO_ERROR = 12, 4, 9
"""Bytes that such records have at least."""
_MORE = 0x80
"""The bit of a byte that says that another follows."""
_ROW_B, _ERROR_B, _FORMULA_B, _SHEET_B = 0, 3, 11, 156
_MAY_HOLD_XLSB = re.compile(rb"\x03\x09.{8}" + _ANY + rb"|\x0b[^\x00].{8,9}" + _ANY, re.DOTALL)


def errors_of_xls(content: bytes, sheet: int) -> Iterator[Cell]:
    """Yield the errors of a sheet of an XLS file."""
    book = stream_of(content, ("Workbook", "Book"))
    if not _MAY_HOLD_XLS.search(book):
        return
    sheets = [unpack_from("<I", book, at)[0] for kind, at, _ in _records(book, 0) if kind == _SHEET]
    if sheet >= len(sheets):
        return
    for kind, at, size in _records(book, sheets[sheet]):
        record = book[at : at + size]
        if kind == _ERROR and record[7:8] == b"\x01":  # its last byte: an error, no truth
            yield *unpack_from("<HH", record), _shown(record[6])
        elif kind in _FORMULAS and record[6:7] == b"\x02" and record[12:14] == b"\xff\xff":
            yield *unpack_from("<HH", record), _shown(record[8])  # the result is no number, and an error


def _records(book: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, place and size of the records from a place to the end of what begins there."""
    depth = 0
    while at + 4 <= len(book):
        kind, size = unpack_from("<HH", book, at)
        at += 4
        if at + size > len(book):
            return
        yield kind, at, size
        depth += (kind == _BEGIN) - (kind == _END)  # a chart in a sheet begins and ends too
        if not depth:
            return
        at += size


def may_hold_xlsb(piece: bytes) -> bool:
    """Return whether an error may be in this piece of a sheet of an XLSB file."""
    return _MAY_HOLD_XLSB.search(piece) is not None


def sheet_ids_of_xlsb(book: bytes) -> list[str]:
    """Return the ids of the relationships that lead to the sheets."""
    found: list[str] = []
    for kind, at, size in _records_b(book):
        if kind == _SHEET_B and size >= _STATE_TO_LENGTH:
            length = unpack_from("<I", book, at + 8)[0]
            if at + 12 + 2 * length <= at + size:
                found.append(book[at + 12 : at + 12 + 2 * length].decode("utf-16-le", "replace"))
    return found


def errors_of_xlsb(sheet: bytes) -> Iterator[Cell]:
    """Yield the errors of a sheet of an XLSB file, its member as it is."""
    row = -1
    for kind, at, size in _records_b(sheet):
        if kind == _ROW_B and size >= _NUMBER_OF_ROW:
            row = unpack_from("<I", sheet, at)[0]
        elif kind in {_ERROR_B, _FORMULA_B} and size >= _COLUMN_TO_ERROR:
            yield row, unpack_from("<I", sheet, at)[0], _shown(sheet[at + 8])


def _records_b(member: bytes) -> Iterator[tuple[int, int, int]]:
    at = 0
    while at < len(member):
        kind, at = _number(member, at, 2)
        size, at = _number(member, at, 4)
        if at + size > len(member):
            return
        yield kind, at, size
        at += size


def _number(member: bytes, at: int, most: int) -> tuple[int, int]:
    """Return a number of at most so many bytes, seven bits of it in each, and the place after it."""
    number = 0
    for place, byte in enumerate(member[at : at + most]):
        number |= (byte & ~_MORE) << (7 * place)
        if not byte & _MORE:
            return number, at + place + 1
    return number, at + most


def _shown(error: int) -> str:
    return BROKEN + _ERRORS.get(error, "#VALUE!")
