"""A spreadsheet that a process of its own reads (`sheet_child`).

It takes some 30 ms to start.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, cast

import orjson

import app
from app.domain.imports.errors import UnreadableError
from app.domain.imports.reader.sheet_answers import ANSWER, HEAD
from app.platform.memory_file import memory_file


class Workbook:
    """Its sheets, and their rows as texts."""

    def __init__(self, file: int, asked: IO[bytes], answers: IO[bytes]) -> None:
        self._asked, self._answers = asked, answers
        self._ask(f"{file}")
        self.sheets = cast(list[tuple[str, bool]], self._answer())
        """The name of each, and whether people see it as a table."""

    def holds_anything(self, sheet: int) -> bool:
        """Return whether a sheet has cells."""
        self._ask(f"holds {sheet}")
        return cast(bool, self._answer())

    def first_row(self, sheet: int) -> list[str]:
        """Return the first row of a sheet that holds anything."""
        self._ask(f"first {sheet}")
        return cast(list[str], self._answer())

    def rows(self, sheet: int) -> tuple[int, Iterator[list[str]]]:
        """Return the column at which the rows of a sheet begin, and the rows, empty ones included."""
        self._ask(f"rows {sheet}")
        return cast(int, self._answer()), self._rows()

    def _rows(self) -> Iterator[list[str]]:
        while some := cast(list[list[str]], self._answer()):
            yield from some

    def _ask(self, question: str) -> None:
        try:
            self._asked.write(f"{question}\n".encode())
            self._asked.flush()
        except BrokenPipeError as error:
            raise _ended() from error

    def _answer(self) -> object:
        head = self._answers.read(HEAD.size)
        data = self._answers.read(HEAD.unpack(head)[0]) if len(head) == HEAD.size else b""
        if not data:
            raise _ended()
        kind, value = cast(tuple[str, object], orjson.loads(data))
        if kind != ANSWER:
            raise UnreadableError(f"The spreadsheet cannot be read: {value}.")
        return value


@contextmanager
def opened(content: bytes) -> Iterator[Workbook]:
    """Open a spreadsheet; its process ends with this.

    Raises:
        UnreadableError: it is damaged, or takes too much memory or time. Reading on may raise it, too.
    """
    with memory_file("spreadsheet", content) as file:
        number = file.fileno()
        process = subprocess.Popen(
            [sys.executable, "-S", "-P", "-m", "app.domain.imports.reader.sheet_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[number],
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": _where_modules_are()},
        )
    try:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process has both")
        with suppress(BrokenPipeError), process.stdin, process.stdout:
            yield Workbook(number, process.stdin, process.stdout)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _where_modules_are() -> str:
    """Return where the process finds what it imports; it looks nowhere else, and starts the sooner."""
    library = find_spec("python_calamine")
    if library is None or library.origin is None:
        raise AssertionError("a dependency")
    return os.pathsep.join([str(Path(app.__path__[0]).parent), str(Path(library.origin).parent.parent)])


def _ended() -> UnreadableError:
    return UnreadableError("The spreadsheet cannot be read: it is damaged, or takes too much memory or time.")
