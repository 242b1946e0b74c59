"""SQL of kept replies."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform import forgetting, records
from app.schema.access import KeptReply


@dataclass(frozen=True, slots=True)
class Kept:
    """The request that a key was taken for, as a digest, and the reply to it, sealed."""

    request: bytes
    sealed: bytes | None


async def take(
    connection: AsyncConnection, key_id: uuid.UUID, key: str, request: bytes, kept: timedelta
) -> bool:
    """Take a key for a request, anew where it was taken longer ago than replies are kept.

    Return False where it is taken. Waits for a transaction that is about to take it.
    """
    query = upsert(KeptReply).values(key_id=key_id, idempotency_key=key, request=request)
    query = query.on_conflict_do_update(
        index_elements=[KeptReply.project_id, KeptReply.key_id, KeptReply.idempotency_key],
        set_={"request": request, "sealed": None, "kept_at": func.now()},
        where=KeptReply.kept_at < func.now() - kept,
    )
    return (await connection.execute(query.returning(KeptReply.key_id))).first() is not None


async def of_key(connection: AsyncConnection, key_id: uuid.UUID, key: str, kept: timedelta) -> Kept | None:
    """Return the request that a key was taken for, and the reply to it; None where it was not taken of late."""
    query = select(KeptReply.request, KeptReply.sealed).where(
        KeptReply.key_id == key_id,
        KeptReply.idempotency_key == key,
        KeptReply.kept_at >= func.now() - kept,
    )
    return records.any_of(await connection.execute(query), Kept)


async def keep(
    connection: AsyncConnection, key_id: uuid.UUID, key: str, request: bytes, sealed: bytes
) -> None:
    """Store the reply to the request that a key was taken for, where it still is."""
    query = update(KeptReply).where(_taken(key_id, key, request))
    await connection.execute(query.values(sealed=sealed))


async def give_back(connection: AsyncConnection, key_id: uuid.UUID, key: str, request: bytes) -> None:
    """Take a key for a request no more, where no reply to it is kept."""
    query = delete(KeptReply).where(_taken(key_id, key, request), KeptReply.sealed.is_(None))
    await connection.execute(query)


def _taken(key_id: uuid.UUID, key: str, request: bytes) -> ColumnElement[bool]:
    return and_(KeptReply.key_id == key_id, KeptReply.idempotency_key == key, KeptReply.request == request)


async def forget(engine: AsyncEngine, kept: timedelta) -> None:
    """Delete the replies of all projects that are older."""
    await forgetting.forget(engine, "kept_reply", "kept_at", kept)
