"""SQL of holds. Whoever makes, ends or draws from a hold locks its pool first: what it counts stays true."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import AnyRow
from app.schema.ledger import Hold

ACTIVE = "(hold.expires_at IS NULL OR hold.expires_at > now())"

# Does not conflict with what refers to the pool, such as an import.
LOCK = text("SELECT id FROM pool WHERE name = :pool FOR NO KEY UPDATE")


async def lock(connection: AsyncConnection, pool: str) -> int | None:
    """The id of a pool, on whose holds nobody else works until the transaction ends."""
    return (await connection.execute(LOCK, {"pool": pool})).scalar_one_or_none()


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
    (SELECT sum(available)::bigint FROM stock WHERE pool_id = :pool_id)
        - coalesce(sum(size - drawn), 0)::bigint AS free,
    coalesce(sum(size - drawn) FILTER (WHERE campaign_id = :campaign_id), 0)::bigint AS own
FROM hold WHERE pool_id = :pool_id AND {ACTIVE}
""")  # noqa: S608  (made of constants)


async def free(connection: AsyncConnection, pool_id: int, campaign_id: str | None = None) -> AnyRow:
    """Available vouchers that nobody holds (below 0 where some were taken out), and what a campaign holds."""
    return (await connection.execute(FREE, {"pool_id": pool_id, "campaign_id": campaign_id})).one()


DREW = text(f"""
UPDATE hold SET drawn = LEAST(size, drawn + :n)
WHERE pool_id = :pool_id AND campaign_id = :campaign_id AND drawn < size AND {ACTIVE}
RETURNING drawn = size AS used_up
""")  # noqa: S608  (made of constants)


async def record_draws(connection: AsyncConnection, pool_id: int, campaign_id: str, n: int) -> bool:
    """Count `n` draws of a campaign against its hold; whether that used it up."""
    row = (
        await connection.execute(DREW, {"pool_id": pool_id, "campaign_id": campaign_id, "n": n})
    ).one_or_none()
    return row is not None and bool(row.used_up)


LIST = text(f"""
SELECT hold.id, pool.name AS pool, campaign_id, size, drawn, expires_at, hold.created_at
FROM hold JOIN pool ON pool.id = pool_id WHERE pool_id = :pool_id AND {ACTIVE} ORDER BY campaign_id
""")  # noqa: S608  (made of constants)


async def of_pool(connection: AsyncConnection, pool_id: int) -> Sequence[AnyRow]:
    """The holds of a pool, by campaign."""
    return (await connection.execute(LIST, {"pool_id": pool_id})).all()


async def remove(connection: AsyncConnection, pool_id: int, hold_id: uuid.UUID) -> bool:
    """Delete a hold; False where the pool has none of this id."""
    query = text("DELETE FROM hold WHERE pool_id = :pool_id AND id = :id RETURNING id")
    return (await connection.execute(query, {"pool_id": pool_id, "id": hold_id})).first() is not None


REMOVE_EXPIRED = text(f"DELETE FROM hold WHERE pool_id = :pool_id AND NOT {ACTIVE}")  # noqa: S608  (a constant)


async def remove_expired(connection: AsyncConnection, pool_id: int) -> None:
    """Delete the holds of a pool whose time is over."""
    await connection.execute(REMOVE_EXPIRED, {"pool_id": pool_id})


async def pools_with_expired(connection: AsyncConnection) -> Sequence[str]:
    """The names of pools that have holds whose time is over."""
    query = text(f"SELECT DISTINCT name FROM hold JOIN pool ON pool.id = pool_id WHERE NOT {ACTIVE}")  # noqa: S608
    return (await connection.execute(query)).scalars().all()
