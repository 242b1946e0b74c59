"""Rows of a query as the bytes of a CSV file, so that they take the way of any other file."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from app.domain.imports.errors import UnreadableError

PARTITION = 5000
EXACT = 2**53
"""Up to here a floating-point number holds every whole number."""


def rows_as_csv(
    header: Sequence[str], partitions: Iterable[Iterable[Sequence[object]]], column: str | int | None = None
) -> Iterator[bytes]:
    """Yield a header and rows.

    Args:
        header: names of the columns.
        partitions: rows, some at a time.
        column: the one that will hold the codes, by name or index, where that is known.

    Raises:
        UnreadableError: the column of the codes holds what is no text and no whole number.
    """
    codes = _index(header, column)
    yield _text([header])
    for partition in partitions:
        yield _text([_as_text(v, header[i], i == codes) for i, v in enumerate(row)] for row in partition)


def _index(header: Sequence[str], column: str | int | None) -> int | None:
    if len(header) == 1:
        return 0
    if isinstance(column, str) and column in header:
        return list(header).index(column)
    if isinstance(column, str) and not column.isdecimal():
        return None
    return None if column is None else int(column)


def _as_text(value: object, name: str, is_code: bool) -> object:
    """Return a value as a person would write it; refuse a code that has no such form."""
    if value is None or isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            if not is_code:
                return bytes(value).hex()
    elif isinstance(value, float | Decimal):
        if _is_whole(value):
            return str(int(value))
        if not is_code:
            return str(value)
    elif not is_code or not isinstance(value, bool | list | tuple | dict | set):
        return json.dumps(value, default=str) if isinstance(value, bool | list | tuple | dict) else value
    raise UnreadableError(
        f"The column {name!r} holds values of the type {type(value).__name__}, which are no codes;"
        " select a text, as with CAST(… AS text)."
    )


def _is_whole(value: float | Decimal) -> bool:
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= EXACT
    return value.is_finite() and value == value.to_integral_value()


def _text(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()
