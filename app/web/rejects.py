"""The rejects of an import as a file."""

import csv
import io
import uuid
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access.scopes import Caller
from app.domain.imports import service
from app.platform.database import transaction
from app.schema.texts import inert

ROWS_AT_A_TIME = 1000


def download(engine: AsyncEngine, import_id: uuid.UUID, caller: Caller) -> StreamingResponse:
    """Make a download of all rejects of an import that is there, as CSV by line; values as the caller may see them."""
    disposition = {"Content-Disposition": f'attachment; filename="rejects-{import_id}.csv"'}
    return StreamingResponse(_rows(engine, import_id, caller), media_type="text/csv", headers=disposition)


async def _rows(engine: AsyncEngine, import_id: uuid.UUID, caller: Caller) -> AsyncIterator[str]:
    yield "line,value,reason,other_pool\r\n"
    line = 0
    while True:
        async with transaction(engine) as connection:
            rows = await service.list_rejects(connection, import_id, line, ROWS_AT_A_TIME)
        if not rows:
            return
        text = io.StringIO()
        csv.writer(text).writerows(
            (row.line, inert(caller.shown(row.value)), row.reason, inert(row.other_pool or ""))
            for row in rows
        )
        yield text.getvalue()
        line = rows[-1].line
