"""What an import tells piece by piece: its end, and its progress as events."""

import asyncio
import time
import uuid
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access.scopes import Caller
from app.domain.imports import following, service
from app.domain.imports.errors import ImportNotFoundError
from app.domain.imports.schemas import ImportOut, ImportRecord
from app.platform.stopping import stopping
from app.web.redaction import import_seen_by

POLL_SECONDS = 0.1
HEARTBEAT_SECONDS = 15


async def until_ended(engine: AsyncEngine, import_id: uuid.UUID, seconds: float) -> ImportRecord:
    """Return the import once it has ended, or as it is after so many seconds."""
    deadline = time.monotonic() + seconds
    found = await following.read(engine, import_id)
    with following.following(engine):
        while found.status not in service.ENDED and time.monotonic() < deadline and not stopping.ending:
            await asyncio.sleep(POLL_SECONDS)
            found = await following.look(engine, import_id)
    return found


def is_told(found: ImportRecord, caller: Caller, last: str) -> bool:
    """Return whether who has had the event `last` knows the end of the import: nothing is left to follow."""
    return found.status in service.ENDED and last == _event_id(_shown(caller, found))


async def events(
    engine: AsyncEngine, import_id: uuid.UUID, caller: Caller, last: str = ""
) -> AsyncIterator[bytes]:
    """Yield server-sent events: the import whenever it has come on, and a sign of life now and then, until its end.

    Each event has an id, by which one who comes back tells what he has had (`last`): that is not told again.
    """
    with following.following(engine):
        async with aclosing(_events(engine, import_id, caller, last)) as told:
            async for event in told:
                yield event


async def _events(
    engine: AsyncEngine, import_id: uuid.UUID, caller: Caller, last: str
) -> AsyncGenerator[bytes, None]:
    before, sent = last, time.monotonic()
    known = None
    while True:
        try:
            found = await following.look(engine, import_id)
        except ImportNotFoundError:
            return
        if found is not known:
            known, shown = found, _shown(caller, found)
            event_id = _event_id(shown)
        if event_id != before:
            before, sent = event_id, time.monotonic()
            yield _event("progress", event_id, shown)
        elif time.monotonic() - sent > HEARTBEAT_SECONDS:
            sent = time.monotonic()
            yield b": still there\n\n"
        if found.status in service.ENDED:
            yield _event("end", event_id, shown)
            return
        if stopping.ending:
            yield b": this process is being stopped, connect again\n\n"
            return
        await asyncio.sleep(2 * POLL_SECONDS)


def _shown(caller: Caller, found: ImportRecord) -> bytes:
    return orjson.dumps(
        ImportOut.model_validate(import_seen_by(caller, found), from_attributes=True).model_dump(mode="json")
    )


def _event_id(shown: bytes) -> str:
    return f"{zlib.crc32(shown):08x}"


def _event(name: str, event_id: str, shown: bytes) -> bytes:
    return f"event: {name}\nid: {event_id}\ndata: ".encode() + shown + b"\n\n"
