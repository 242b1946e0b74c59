"""SQL of rendering."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.schema.ledger import MessageDefault

# The first in draw order: the same one as long as nobody draws it.
SHOWN = text("""
SELECT code FROM voucher
WHERE pool_id = (SELECT id FROM pool WHERE name = :pool) AND status = 'available'
    AND (expires_at IS NULL OR expires_at > now())
ORDER BY draw_key LIMIT 1
""")


async def shown(connection: AsyncConnection, pool: str) -> str | None:
    """An available code of the pool, neither taken nor locked."""
    code: str | None = (await connection.execute(SHOWN, {"pool": pool})).scalar_one_or_none()
    return code


async def defaults(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The defaults that were shown under these ids."""
    query = select(MessageDefault.id, MessageDefault.code).where(MessageDefault.id == func.any(list(ids)))
    return {row.id: row.code for row in await connection.execute(query)}


async def add_defaults(connection: AsyncConnection, codes: Mapping[uuid.UUID, str]) -> None:
    """Note the defaults that were shown."""
    await connection.execute(
        insert(MessageDefault), [{"id": id_, "code": code} for id_, code in codes.items()]
    )
