"""Exports: the rows of a query as CSV or NDJSON, by way of a file without a name, in constant memory."""

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeAlias

import orjson
from fastapi import Query as QueryParameter
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.platform import records
from app.platform.database import ONLY_READS
from app.platform.projects import project_of
from app.schema.texts import inert
from app.web.headers import Responses, bearing
from app.web.reading import Source
from app.web.spool import check_room, spooled

ROWS_AT_A_TIME = 1000
"""Rows that are fetched at a time."""

ROWS_OF_A_BLOCK = 200
"""Rows that are written at a time: few, so that requests between two blocks hardly wait."""


Query: TypeAlias = records.Query
"""What an export gives the rows of."""


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    NDJSON = "ndjson"


FormatQuery = Annotated[
    Format,
    QueryParameter(
        description="`csv`: what a spreadsheet would run, or begins with `'`, gets a `'` in front, which an import"
        " takes off again; `ndjson`: values as they are"
    ),
]
MEDIA_TYPES = {Format.CSV: "text/csv; charset=utf-8", Format.NDJSON: "application/x-ndjson"}
DESCRIBED: Responses = {
    200: {
        "description": "The rows, as a stream",
        "content": {"text/csv": {}, "application/x-ndjson": {}},
        **bearing(200, "Data-Age")[200],
    }
}


class Download(StreamingResponse):
    """A reply that begins once its first block is there: what fails before is answered with what it is."""

    body_iterator: AsyncGenerator[bytes, None]
    _failed: Exception | None = None

    def __init__(
        self,
        source: Source,
        blocks: AsyncGenerator[bytes, None],
        format_: Format,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(blocks, media_type=MEDIA_TYPES[format_], headers=headers)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply.

        Raises:
            Exception: there was no first block, and nothing was sent.
        """
        await super().__call__(scope, receive, send)
        if self._failed is not None:
            raise self._failed

    async def stream_response(self, send: Send) -> None:
        """Send the reply; keep what went wrong before it began."""
        async with aclosing(self.body_iterator) as blocks:
            try:
                first = await anext(blocks, b"")
            except Exception as error:  # noqa: BLE001  (whatever it was, it is raised where it is answered)
                self._failed = error
                return
            self.headers.update(self._source.headers)
            self.body_iterator = _with_first(first, blocks)
            await super().stream_response(send)


async def _with_first(first: bytes, others: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield first
    async for block in others:
        yield block


def response(
    source: Source,
    query: Query,
    columns: Sequence[str],
    format_: Format,
    name: str,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Make a download of the rows of a query, with further headers.

    Raises:
        TooManyExportsError: too many are under way.
    """
    project = project_of(source.engine)
    check_room(project)
    return Download(
        source,
        spooled(stream(source, query, columns, format_), project),
        format_,
        {"Content-Disposition": f'attachment; filename="{name}.{format_}"', **(headers or {})},
    )


async def stream(
    source: Source, query: Query, columns: Sequence[str], format_: Format
) -> AsyncIterator[bytes]:
    """Write the rows of a query; on a connection of its own, because the request's is gone by then."""
    async with source.connection() as connection:
        await connection.execute(ONLY_READS)
        yield b""  # it has its connection
        rows = await connection.stream(query.execution_options(yield_per=ROWS_AT_A_TIME))
        if format_ is Format.CSV:
            yield _csv([columns])
        async for chunk in rows.partitions():
            for start in range(0, len(chunk), ROWS_OF_A_BLOCK):
                block = chunk[start : start + ROWS_OF_A_BLOCK]
                yield _csv(block) if format_ is Format.CSV else _ndjson(block, columns)


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue().encode()


def _cell(value: object) -> str:
    if isinstance(value, str):
        return inert(value)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)[1:-1].decode()
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return str(value).lower()  # a truth value or an id


def _ndjson(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> bytes:
    return b"".join(
        orjson.dumps(
            dict(zip(columns, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
        )
        for row in rows
    )
