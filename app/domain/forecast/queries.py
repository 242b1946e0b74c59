"""SQL of the stock history and of what was assigned lately."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import AnyRow
from app.schema.alerts import StockHistory
from app.schema.ledger import Assignment

# Whoever comes first in an hour writes its rows; those after find them there. A late one writes what it sees,
# and when.
SNAPSHOT = text("""
INSERT INTO stock_history (pool_id, hour, taken_at, available, reserved, assigned, redeemed, expired, void)
SELECT pool_id, date_trunc('hour', now()), now(),
    sum(available), sum(reserved), sum(assigned), sum(redeemed), sum(expired), sum(void)
FROM stock
WHERE NOT EXISTS (
    SELECT FROM stock_history AS history
    WHERE history.pool_id = stock.pool_id AND history.hour = date_trunc('hour', now())
)
GROUP BY pool_id
ON CONFLICT DO NOTHING
""")
FORGET = text("DELETE FROM stock_history WHERE hour < now() - make_interval(days => :days)")

# Vouchers gone out since some time: what is out now, less what was out then. What was out then is in
# the last row taken before; nothing was at the pool's beginning.
DRAWN = text("""
SELECT window_start, COALESCE(back_then.taken_at, pool.created_at) AS since,
    out_now.drawn - COALESCE(back_then.drawn, 0) AS drawn
FROM pool
CROSS JOIN unnest(CAST(:starts AS timestamptz[])) AS window_start
CROSS JOIN LATERAL (
    SELECT sum(reserved + assigned + redeemed)::bigint AS drawn FROM stock WHERE pool_id = pool.id
) AS out_now
LEFT JOIN LATERAL (
    SELECT taken_at, reserved + assigned + redeemed AS drawn FROM stock_history
    WHERE pool_id = pool.id AND taken_at <= window_start AND hour <= window_start
    ORDER BY hour DESC LIMIT 1
) AS back_then ON true
WHERE pool.id = :pool_id
ORDER BY window_start
""")

HISTORY: tuple[Any, ...] = (
    StockHistory.hour,
    StockHistory.taken_at,
    StockHistory.available,
    StockHistory.reserved,
    StockHistory.assigned,
    StockHistory.redeemed,
    StockHistory.expired,
    StockHistory.void,
)


async def snapshot(connection: AsyncConnection) -> None:
    """Write this hour's row of each pool that has none yet."""
    await connection.execute(SNAPSHOT)


async def forget(connection: AsyncConnection, days: int) -> None:
    """Delete rows older than so many days."""
    await connection.execute(FORGET, {"days": days})


async def assigned_since(connection: AsyncConnection, pool_id: int, since: datetime) -> int:
    """Assignments of a pool since then that were not released again."""
    query = select(func.count()).where(
        Assignment.pool_id == pool_id, Assignment.assigned_at >= since, Assignment.released_at.is_(None)
    )
    return (await connection.execute(query)).scalar_one()


async def drawn_since(
    connection: AsyncConnection, pool_id: int, starts: Sequence[datetime]
) -> Sequence[AnyRow]:
    """For each start: the last moment before it whose stock is known, and what has left the stock since."""
    return (await connection.execute(DRAWN, {"pool_id": pool_id, "starts": list(starts)})).all()


async def history(
    connection: AsyncConnection, pool_id: int, before: datetime | None, limit: int
) -> Sequence[AnyRow]:
    """Rows of a pool, newest first."""
    query = (
        select(*HISTORY)
        .where(StockHistory.pool_id == pool_id)
        .order_by(StockHistory.hour.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(StockHistory.hour < before)
    return (await connection.execute(query)).all()
