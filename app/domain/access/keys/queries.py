"""SQL of API keys."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import AnyRow
from app.schema.access import ApiKey

COLUMNS = (ApiKey.id, ApiKey.name, ApiKey.digest, ApiKey.scopes, ApiKey.created_at, ApiKey.revoked_at)


async def with_prefix(connection: AsyncConnection, prefix: bytes) -> Sequence[AnyRow]:
    """The keys, not revoked, whose digest begins so."""
    query = select(*COLUMNS).where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    return (await connection.execute(query)).all()


async def add(connection: AsyncConnection, values: dict[str, Any]) -> uuid.UUID:
    """Store a key; its id."""
    result = await connection.execute(insert(ApiKey).values(values).returning(ApiKey.id))
    return result.scalar_one()


async def add_once(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Store a key unless its digest is there."""
    await connection.execute(upsert(ApiKey).values(values).on_conflict_do_nothing())


async def any_key(connection: AsyncConnection) -> bool:
    """Whether any key was ever made."""
    return (await connection.execute(select(ApiKey.id).limit(1))).first() is not None


async def all_keys(connection: AsyncConnection) -> Sequence[AnyRow]:
    """Every key, oldest first."""
    return (await connection.execute(select(*COLUMNS).order_by(ApiKey.created_at, ApiKey.id))).all()


async def revoke(connection: AsyncConnection, key_id: uuid.UUID) -> bool:
    """Revoke a key; False where no key that still stands has this id."""
    query = (
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    )
    return (await connection.execute(query)).first() is not None
