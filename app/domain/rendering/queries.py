"""SQL of rendering."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.schema.ledger import MessageDefault


async def defaults(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The defaults that were shown under these ids."""
    query = select(MessageDefault.id, MessageDefault.code).where(MessageDefault.id == func.any(list(ids)))
    return {row.id: row.code for row in await connection.execute(query)}


async def add_defaults(connection: AsyncConnection, codes: Mapping[uuid.UUID, str]) -> None:
    """Note the defaults that were shown."""
    await connection.execute(
        insert(MessageDefault), [{"id": id_, "code": code} for id_, code in codes.items()]
    )
