"""The rules of reading the ledger."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import AnyRow
from app.ledger import queries
from app.ledger.schemas import Filter
from app.pools import service as pools

Key = tuple[int, datetime, uuid.UUID]
"""Where a page of the ledger ends: pool, time, id."""
COLUMNS = queries.COLUMNS


async def after(connection: AsyncConnection, wanted: Filter, key: Key | None, limit: int) -> Sequence[AnyRow]:
    """A page of assignments, released ones included.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    return await queries.after(connection, wanted, await _pool_id(connection, wanted), key, limit)


async def matching(connection: AsyncConnection, wanted: Filter) -> Select[Any]:
    """The query of all assignments that a filter lets pass.

    Raises:
        PoolNotFoundError: the filter names a pool that is not there.
    """
    return queries.matching(wanted, await _pool_id(connection, wanted))


async def _pool_id(connection: AsyncConnection, wanted: Filter) -> int | None:
    return None if wanted.pool is None else await pools.id_of(connection, wanted.pool)
