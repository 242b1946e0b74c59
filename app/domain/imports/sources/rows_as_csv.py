"""Rows of a query as the bytes of a CSV file, so that they take the way of any other file."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

PARTITION = 5000


def rows_as_csv(header: Sequence[str], partitions: Iterable[Iterable[Sequence[Any]]]) -> Iterator[bytes]:
    """A header and rows."""
    yield _text([header])
    for partition in partitions:
        yield _text(partition)


def _text(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()
