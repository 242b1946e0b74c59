"""Exports: the rows of a query as CSV or NDJSON, streamed from a server-side cursor in constant memory."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeAlias

import orjson
from fastapi import Query as QueryParameter
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform import records
from app.platform.database import ONLY_READS
from app.schema.texts import inert
from app.web.headers import Responses
from app.web.spool import check_room, spooled

ROWS_AT_A_TIME = 500
"""Rows that are fetched and written at a time: few, so that requests between two of them hardly wait."""


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
    200: {"description": "The rows, as a stream", "content": {"text/csv": {}, "application/x-ndjson": {}}}
}


def response(
    engine: AsyncEngine,
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
    check_room()
    return StreamingResponse(
        spooled(stream(engine, query, columns, format_)),
        media_type=MEDIA_TYPES[format_],
        headers={"Content-Disposition": f'attachment; filename="{name}.{format_}"', **(headers or {})},
    )


async def stream(
    engine: AsyncEngine, query: Query, columns: Sequence[str], format_: Format
) -> AsyncIterator[bytes]:
    """Write the rows of a query; on a connection of its own, because the request's is gone by then."""
    if format_ is Format.CSV:
        yield _csv([columns])
    async with engine.connect() as connection:
        await connection.execute(ONLY_READS)
        rows = await connection.stream(query.execution_options(yield_per=ROWS_AT_A_TIME))
        async for chunk in rows.partitions():
            yield _csv(chunk) if format_ is Format.CSV else _ndjson(chunk, columns)


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
        return value.isoformat().replace("+00:00", "Z")
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
