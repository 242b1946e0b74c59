"""SQL of kept replies."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform import records
from app.schema.access import KeptReply


@dataclass(frozen=True, slots=True)
class Kept:
    """The request that a key was taken for, as a digest, and the reply to it, sealed."""

    request: bytes
    sealed: bytes | None


async def take(connection: AsyncConnection, key_id: uuid.UUID, key: str, request: bytes) -> bool:
    """Take a key for a request; return False where it is taken. Waits for a transaction that is about to take it."""
    query = (
        upsert(KeptReply)
        .values(key_id=key_id, idempotency_key=key, request=request)
        .on_conflict_do_nothing()
        .returning(KeptReply.key_id)
    )
    return (await connection.execute(query)).first() is not None


async def of_key(connection: AsyncConnection, key_id: uuid.UUID, key: str) -> Kept | None:
    """Return the request that a key was taken for, and the reply to it; None where it was not taken."""
    query = select(KeptReply.request, KeptReply.sealed).where(
        KeptReply.key_id == key_id, KeptReply.idempotency_key == key
    )
    return records.any_of(await connection.execute(query), Kept)


async def keep(connection: AsyncConnection, key_id: uuid.UUID, key: str, sealed: bytes) -> None:
    """Store the reply to the request that a key was taken for."""
    query = update(KeptReply).where(KeptReply.key_id == key_id, KeptReply.idempotency_key == key)
    await connection.execute(query.values(sealed=sealed))


async def forget(connection: AsyncConnection, kept: timedelta) -> None:
    """Delete the replies that are older."""
    await connection.execute(delete(KeptReply).where(KeptReply.kept_at < func.now() - kept))
