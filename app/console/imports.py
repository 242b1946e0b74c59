"""*Data & Assets → Imports*: the imports, and one import."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeAlias, TypeVar

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.console.pages import PAGE, check_sure, path, see, show
from app.console.session import ManagerForm, Reader, Visit
from app.domain.access.scopes import Caller
from app.domain.imports import following, service, undoing
from app.domain.imports.schemas import ImportRecord
from app.domain.pools import service as pools
from app.platform.database import run_act, transaction
from app.platform.errors import DomainError
from app.platform.stopping import stopping
from app.schema.names import nfc
from app.web import pagination, rejects
from app.web.dependencies import Connection, Engine
from app.web.redaction import import_seen_by

router = APIRouter(prefix="/imports")
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
LINE = TypeAdapter(int)


@router.get("")
async def list_imports(visit: Reader, connection: Connection) -> Response:
    """Show the imports, newest first."""
    query = visit.request.query_params
    start = pagination.decode(query.get("cursor"), KEY)
    rows = await service.list_page(connection, nfc(query.get("pool", "")) or None, None, start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: (row.created_at, row.id))
    listed = pagination.each(listed, lambda row: import_seen_by(visit.caller, row))
    named = await pools.named(connection, {row.pool for row in listed["items"]})
    return show(visit, "imports.html", pools=named, **listed)


@router.get("/{import_id}")
async def one(import_id: uuid.UUID, visit: Reader, connection: Connection) -> Response:
    """Show an import with its figures and rejects."""
    return await _one(visit, connection, import_id)


@router.get("/{import_id}/progress")
async def progress(import_id: uuid.UUID, _: Reader, connection: Connection, engine: Engine) -> Response:
    """Send the import as events until it has ended."""
    following.check_room(engine)
    await service.get(connection, import_id)
    return StreamingResponse(_events(engine, import_id), media_type="text/event-stream")


@router.get("/{import_id}/rejects")
async def download_rejects(
    import_id: uuid.UUID, visit: Reader, connection: Connection, engine: Engine
) -> Response:
    """Send the rows that did not become vouchers as CSV."""
    await service.get(connection, import_id)
    return rejects.download(engine, import_id, visit.caller)


@router.post("/{import_id}/undo")
async def undo(import_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Take back the codes of an import that are still available."""

    def said(undone: undoing.Undone) -> str:
        kept = "-kept" if undone.kept_for_holds else ""
        return f"undone{kept}-paused" if undone.paused_schedule else f"undone{kept}"

    async def take_back(engine: AsyncEngine, caller: Caller | None, import_id: uuid.UUID) -> undoing.Undone:
        check_sure(visit)
        return await undoing.undo(engine, caller, import_id)

    return await _act(visit, engine, import_id, take_back, said)


@router.post("/{import_id}/cancel")
async def cancel(import_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """End an import that is queued or under way."""
    return await _act(visit, engine, import_id, _at_once(service.cancel), lambda _: "cancelled")


@router.post("/{import_id}/accept-suspicious")
async def accept_suspicious(import_id: uuid.UUID, visit: ManagerForm, engine: Engine) -> Response:
    """Take the values that were set aside after all."""
    return await _act(visit, engine, import_id, _at_once(service.accept_suspicious), _accepted)


def _accepted(found: ImportRecord) -> str:
    return "accepted-but-given" if found.suspicious else "accepted"


Done = TypeVar("Done")
Acting: TypeAlias = Callable[[AsyncEngine, Caller | None, uuid.UUID], Awaitable[Done]]


def _at_once(act: Callable[[AsyncConnection, Caller | None, uuid.UUID], Awaitable[Done]]) -> Acting[Done]:
    """Return the act in a transaction of its own."""

    async def run(engine: AsyncEngine, caller: Caller | None, import_id: uuid.UUID) -> Done:
        return await run_act(engine, act, caller, import_id)

    return run


async def _act(
    visit: Visit,
    engine: Engine,
    import_id: uuid.UUID,
    act: Acting[Done],
    said: Callable[[Done], str],
) -> Response:
    """Do something to an import, and show it again with what was done, or with why it was not."""
    try:
        done = await act(engine, visit.caller, import_id)
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _one(visit, connection, import_id, error)
    return see(path("imports", import_id), said(done))


async def _one(
    visit: Visit, connection: AsyncConnection, import_id: uuid.UUID, error: DomainError | None = None
) -> Response:
    found = import_seen_by(visit.caller, await service.get(connection, import_id))
    line = pagination.decode(visit.request.query_params.get("cursor"), LINE) or 0
    rows = await service.list_rejects(connection, import_id, line, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: row.line)
    ended = found.status in service.ENDED
    about = {
        "found": found,
        "pools": await pools.named(connection, [found.pool]),
        "ended": ended,
        "can_accept": ended and await service.can_accept(connection, found),
        "ignored": await service.list_ignored(connection, import_id, 0, PAGE) if found.ignored else [],
    }
    at = "/console" + path("imports", import_id)
    return show(visit, "import.html", at, error=error, **about, **listed)


async def _events(engine: Engine, import_id: uuid.UUID) -> AsyncIterator[bytes]:
    before = None
    with following.following(engine):
        while True:
            found = await following.look(engine, import_id)
            shown = {
                name: getattr(found, name) for name in ("status", "rows", "progress", "stage", "fetched")
            }
            yield b": still there\n\n" if shown == before else _event(shown)
            before = shown
            if found.status in service.ENDED or stopping.ending:
                return  # a browser connects again by itself
            await asyncio.sleep(0.5)


def _event(shown: Mapping[str, object]) -> bytes:
    return b"event: progress\ndata: " + orjson.dumps(shown) + b"\n\n"
