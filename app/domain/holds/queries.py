"""SQL of holds. Whoever makes, ends or draws from a hold locks its pool first: what it counts stays true."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.holds.schemas import HoldRecord
from app.domain.lifecycle.claim import StoredRule
from app.domain.lifecycle.stock import HOLD_STANDS
from app.platform import records
from app.schema.ledger import Hold

# Does not conflict with what refers to the pool, such as an import.
LOCK_POOL = text("SELECT id FROM pool WHERE project_id = :project AND name = :pool FOR NO KEY UPDATE")


async def lock(connection: AsyncConnection, pool: str) -> int | None:
    """Return the id of a pool, on whose holds nobody else works until the transaction ends."""
    return (await connection.execute(LOCK_POOL, {"pool": pool})).scalar_one_or_none()


@dataclass(frozen=True, slots=True)
class PoolToDraw:
    """A pool that is locked, and its rule for customers."""

    id: int
    per_customer: StoredRule | None


LOCK_TO_DRAW = text(
    "SELECT id, per_customer FROM pool WHERE project_id = :project AND name = :pool FOR NO KEY UPDATE"
)


async def lock_to_draw(connection: AsyncConnection, pool: str) -> PoolToDraw | None:
    """Return id and rule of a pool, from which nobody else draws until the transaction ends."""
    return records.any_of(await connection.execute(LOCK_TO_DRAW, {"pool": pool}), PoolToDraw)


async def add(
    connection: AsyncConnection, pool_id: int, campaign_id: str, size: int, expires_at: datetime | None
) -> uuid.UUID | None:
    """Store a hold; its id, or None where the campaign has one."""
    query = (
        upsert(Hold)
        .values(pool_id=pool_id, campaign_id=campaign_id, size=size, expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(Hold.id)
    )
    return (await connection.execute(query)).scalar_one_or_none()


FREE = text(f"""
SELECT
    (SELECT sum(available)::bigint FROM stock WHERE project_id = :project AND pool_id = :pool_id)
        - coalesce(sum(size - drawn), 0)::bigint AS free,
    coalesce(sum(size - drawn) FILTER (WHERE campaign_id = :campaign_id), 0)::bigint AS own,
    min(id::text) FILTER (WHERE campaign_id = :campaign_id)::uuid AS hold_id
FROM hold WHERE project_id = :project AND pool_id = :pool_id AND {HOLD_STANDS}
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class Free:
    """What may be drawn from a pool with holds."""

    free: int
    """Available vouchers that nobody holds; below 0 where some were taken out."""
    own: int
    """What the hold of the campaign that asks still keeps."""
    hold_id: uuid.UUID | None


async def free(connection: AsyncConnection, pool_id: int, campaign_id: str | None = None) -> Free:
    """Count what nobody holds, and what a campaign holds."""
    row = (await connection.execute(FREE, {"pool_id": pool_id, "campaign_id": campaign_id})).one()
    return Free(*row)


CAMPAIGNS = text("""
SELECT campaign_id FROM hold WHERE project_id = :project
    AND pool_id = (SELECT id FROM pool WHERE project_id = :project AND name = :pool)
""")


async def campaigns(connection: AsyncConnection, pool: str) -> set[str]:
    """Return the campaigns that have holds on a pool."""
    return set((await connection.execute(CAMPAIGNS, {"pool": pool})).scalars())


DREW = text("""
UPDATE hold SET drawn = drawn + :n WHERE project_id = :project AND id = :id
RETURNING pool_id, drawn = size AS used_up
""")


async def record_draws(connection: AsyncConnection, hold_id: uuid.UUID, n: int) -> int | None:
    """Count `n` draws from a hold that is locked; the id of its pool if that used it up."""
    row = (await connection.execute(DREW, {"id": hold_id, "n": n})).one()
    return int(row.pool_id) if row.used_up else None


_HOLDS = """
SELECT hold.id, pool.name AS pool, campaign_id, size AS count, drawn, expires_at, hold.created_at
FROM hold JOIN pool ON pool.project_id = :project AND pool.id = pool_id
"""
ONE = text(
    f"{_HOLDS} WHERE hold.project_id = :project AND pool_id = :pool_id AND hold.id = :id AND {HOLD_STANDS}"
)
LIST = text(f"""
{_HOLDS}
WHERE hold.project_id = :project AND pool_id = :pool_id AND campaign_id > :after AND {HOLD_STANDS}
ORDER BY campaign_id LIMIT :limit
""")


async def by_id(connection: AsyncConnection, pool_id: int, hold_id: uuid.UUID) -> HoldRecord | None:
    """Return a hold of a pool that has not expired."""
    return records.any_of(await connection.execute(ONE, {"pool_id": pool_id, "id": hold_id}), HoldRecord)


async def of_pool(connection: AsyncConnection, pool_id: int, after: str, limit: int) -> list[HoldRecord]:
    """Return holds of a pool, by campaign, of those behind `after`."""
    parameters = {"pool_id": pool_id, "after": after, "limit": limit}
    return records.all_of(await connection.execute(LIST, parameters), HoldRecord)


CHANGE = text(
    "UPDATE hold SET size = :count, expires_at = :expires_at WHERE project_id = :project AND id = :id"
)


async def change(
    connection: AsyncConnection, hold_id: uuid.UUID, count: int, expires_at: datetime | None
) -> None:
    """Change a hold whose pool is locked."""
    await connection.execute(CHANGE, {"id": hold_id, "count": count, "expires_at": expires_at})


async def remove(connection: AsyncConnection, hold_id: uuid.UUID) -> None:
    """Delete a hold whose pool is locked."""
    query = text("DELETE FROM hold WHERE project_id = :project AND id = :id")
    await connection.execute(query, {"id": hold_id})


REMOVE_EXPIRED = text(
    f"DELETE FROM hold WHERE project_id = :project AND pool_id = :pool_id AND NOT {HOLD_STANDS}"  # noqa: S608
)


async def remove_expired(connection: AsyncConnection, pool_id: int) -> None:
    """Delete the holds of a pool whose time is over."""
    await connection.execute(REMOVE_EXPIRED, {"pool_id": pool_id})


EXPIRED_IN = text("SELECT DISTINCT project_id FROM hold WHERE expires_at <= now()")
"""The projects in which holds have expired."""


async def pools_with_expired(connection: AsyncConnection) -> Sequence[str]:
    """Return the names of pools that have holds whose time is over."""
    query = text(f"""
SELECT DISTINCT name FROM hold JOIN pool ON pool.project_id = :project AND pool.id = pool_id
WHERE hold.project_id = :project AND NOT {HOLD_STANDS}
""")  # noqa: S608
    return (await connection.execute(query)).scalars().all()
