"""The process that reads one spreadsheet with the library, so that no file can harm the process that wants its rows.

A file that is damaged, or means harm, makes the library panic, or take all the memory there is: a cell in the last
column of the last row stands in 5 KB, and in half a terabyte of the library's. Then only this process ends.
The file is open under a number, which is the first line of stdin. The others are questions, a verb and the index of a
sheet; on stdout go answers, each a length and JSON: a kind, and a value.
"""

import gc
import io
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from itertools import islice
from pathlib import Path

import orjson
from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from app.domain.imports.reader.marks import LOST
from app.domain.imports.reader.sheet_answers import ANSWER, FAULT, HEAD

MEMORY = 2 * 1024**3
"""Most address space; a million rows of three columns take a tenth of it."""
CPU_SECONDS = 120
KEPT = 10**15
"""Numbers below are kept by a spreadsheet to the last digit."""
ROWS = 500
"""Rows in an answer."""
Answer = list[tuple[str, bool]] | list[list[str]] | list[str] | str | int | bool


def main() -> None:
    """Answer until nobody asks any more."""
    gc.disable()  # nothing here goes in circles
    out = os.dup(1)
    os.dup2(2, 1)  # what the library prints is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(
            "1000"
        )  # where memory is short, this process ends and no other
    with suppress(BrokenPipeError):
        try:
            for answer in _answers(int(sys.stdin.readline())):
                _write(out, (ANSWER, answer))
        except (CalamineError, OSError, ValueError) as error:
            _write(out, (FAULT, str(error)))


def _answers(descriptor: int) -> Iterator[Answer]:
    with os.fdopen(descriptor, "rb") as file:
        content = io.BytesIO(file.read())
    with CalamineWorkbook.from_filelike(content) as workbook:
        yield [
            (about.name, about.visible == SheetVisibleEnum.Visible and about.typ == SheetTypeEnum.WorkSheet)
            for about in workbook.sheets_metadata
        ]
        for question in sys.stdin:
            verb, index = question.split()
            sheet = workbook.get_sheet_by_index(int(index))
            if verb == "holds":
                yield bool(sheet.height)
                continue
            rows = ([_text(cell) for cell in row] for row in sheet.iter_rows())
            if verb == "first":
                stripped = ([cell.strip() for cell in row] for row in rows)
                yield next(filter(any, stripped), [])
                continue
            yield sheet.start[1] if sheet.start else 0
            while some := list(islice(rows, ROWS)):
                yield some
            yield []


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


def _write(out: int, answer: tuple[str, Answer]) -> None:
    data = orjson.dumps(answer)
    rest = memoryview(HEAD.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(out, rest) :]


if __name__ == "__main__":
    main()
