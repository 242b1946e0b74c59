"""SQL of the stock history and of what was assigned lately."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.forecast.schemas import HourRecord
from app.platform import records
from app.schema.alerts import StockHistory

POOLS = "SELECT project_id, id AS key FROM pool WHERE (project_id, id) > {after}"
WITHOUT_THIS_HOUR = """NOT EXISTS (
    SELECT FROM stock_history AS history
    WHERE history.project_id = slice.project_id AND history.pool_id = slice.key
        AND history.hour = date_trunc('hour', now())
)"""
"""SQL: whether a pool has no row of this hour yet."""

# Whoever comes first in an hour writes its rows; those after find them there. A late one writes what it sees,
# and when.
SNAPSHOT = text("""
INSERT INTO stock_history (
    pool_id, hour, taken_at, available, reserved, assigned, redeemed, expired, void, given_besides
)
SELECT pool_id, date_trunc('hour', now()), now(),
    sum(available), sum(reserved), sum(assigned), sum(redeemed), sum(expired), sum(void), sum(given_besides)
FROM stock
WHERE NOT EXISTS (
    SELECT FROM stock_history AS history
    WHERE history.pool_id = stock.pool_id AND history.hour = date_trunc('hour', now())
)
GROUP BY pool_id
ON CONFLICT DO NOTHING
""")
FORGET = text("DELETE FROM stock_history WHERE hour < now() - make_interval(days => :days)")

# Vouchers given for good since some time: what was given by now, less what was given by then. What was given by then is
# in the last row taken before; nothing was at the pool's beginning. A reservation is not given. What was given and made
# void since was given all the same, and what was used without ever being given was not (`given_besides`).
DRAWN = text("""
SELECT pool.id AS pool_id, window_start, COALESCE(back_then.taken_at, pool.created_at) AS since,
    out_now.drawn - COALESCE(back_then.drawn, 0) AS drawn
FROM pool
CROSS JOIN unnest(CAST(:starts AS timestamptz[])) AS window_start
CROSS JOIN LATERAL (
    SELECT sum(assigned + redeemed + given_besides)::bigint AS drawn FROM stock WHERE pool_id = pool.id
) AS out_now
LEFT JOIN LATERAL (
    SELECT taken_at, assigned + redeemed + coalesce(given_besides, 0) AS drawn FROM stock_history
    WHERE pool_id = pool.id AND taken_at <= window_start AND hour <= window_start
    ORDER BY hour DESC LIMIT 1
) AS back_then ON true
WHERE pool.id = ANY (CAST(:pool_ids AS bigint[]))
ORDER BY window_start
""")

HISTORY = (
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


# The newest rows of the ledger, read backwards by its index and never more than :most of them: where there are more,
# the rate is that of the shorter time that they took. What was reserved and made void was never given.
LATELY = text("""
SELECT count(*) AS read, min(assigned_at) AS first,
    count(*) FILTER (
        WHERE released_at IS NULL AND lease_until IS NULL AND (lease_seconds IS NULL OR EXISTS (
            SELECT FROM voucher WHERE voucher.code = newest.code AND voucher.assigned_at IS NOT NULL
        ))
    ) AS given
FROM (
    SELECT code, assigned_at, released_at, lease_until, lease_seconds FROM assignment
    WHERE pool_id = :pool_id AND assigned_at >= :since
    ORDER BY assigned_at DESC LIMIT :most
) AS newest
""")


@dataclass(frozen=True, slots=True)
class Given:
    """How many vouchers were given for good since a moment, and did not come back."""

    since: datetime
    n: int


async def given_lately(connection: AsyncConnection, pool_id: int, since: datetime, most: int) -> Given:
    """Count in the ledger what was given since then; from a later moment on where that is more than `most` rows."""
    row = (await connection.execute(LATELY, {"pool_id": pool_id, "since": since, "most": most})).one()
    return Given(row.first if row.read == most else since, row.given)


async def given_since(connection: AsyncConnection, pool_id: int, starts: Sequence[datetime]) -> list[Given]:
    """For each start, count what was given since the last moment before it whose stock is known."""
    rows = await connection.execute(DRAWN, {"pool_ids": [pool_id], "starts": list(starts)})
    return [Given(row.since, row.drawn) for row in rows]


async def given_of_each(
    connection: AsyncConnection, pool_ids: Sequence[int], start: datetime
) -> dict[int, Given]:
    """Count for each pool what was given since the last moment before the start whose stock is known."""
    rows = await connection.execute(DRAWN, {"pool_ids": list(pool_ids), "starts": [start]})
    return {row.pool_id: Given(row.since, row.drawn) for row in rows}


async def history(
    connection: AsyncConnection, pool_id: int, before: datetime | None, limit: int
) -> list[HourRecord]:
    """Return the rows of a pool, newest first."""
    query = (
        select(*HISTORY)
        .where(StockHistory.pool_id == pool_id)
        .order_by(StockHistory.hour.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(StockHistory.hour < before)
    return records.all_of(await connection.execute(query), HourRecord)
