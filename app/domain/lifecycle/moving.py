"""SQL by which available vouchers move to another pool.

Whoever moves codes locks the pools first, by their ids, as all work on holds does: what holds keep stays.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.stock import LEFT, SLOT
from app.domain.lifecycle.thresholds import fall

LOCK_POOLS = text("""
SELECT id FROM pool WHERE project_id = :project AND (id = CAST(:to AS bigint)
    OR id IN (SELECT pool_id FROM voucher WHERE project_id = :project AND code = ANY (CAST(:codes AS text[]))))
ORDER BY id FOR NO KEY UPDATE
""")
FREE = text(f"""
SELECT pool.id, pool.name,
    CASE WHEN max(holds) > 0 THEN {LEFT.format(project=":project", pool_id="pool.id")} END AS free
FROM pool JOIN stock ON stock.project_id = :project AND stock.pool_id = pool.id
WHERE pool.project_id = :project AND pool.id = ANY (CAST(:ids AS bigint[]))
GROUP BY pool.project_id, pool.id
""")  # noqa: S608  (made of constants)
# Not one update of both by a UNION: one that waits for another finds no row of it any more when it looks again.
MOVE = text(f"""
WITH chosen AS MATERIALIZED (
    SELECT voucher.code, voucher.pool_id
    FROM unnest(CAST(:codes AS text[])) AS asked (code) JOIN voucher ON voucher.code = asked.code
    WHERE voucher.project_id = :project AND voucher.status = 'available' AND voucher.pool_id <> :to
    ORDER BY voucher.code FOR UPDATE OF voucher
), moved AS (
    UPDATE voucher SET pool_id = :to FROM chosen WHERE voucher.project_id = :project AND voucher.code = chosen.code
), taken AS (
    UPDATE stock SET available = available - sums.n
    FROM (SELECT pool_id, count(*) AS n FROM chosen GROUP BY pool_id) AS sums
    WHERE stock.project_id = :project AND stock.pool_id = sums.pool_id AND stock.slot = :slot
), brought AS (
    UPDATE stock SET available = available + (SELECT count(*) FROM chosen)
    WHERE stock.project_id = :project AND stock.pool_id = :to AND stock.slot = :slot
), fallen AS ({fall("(CAST(:to AS bigint))")})
SELECT count(*) FROM chosen
""")  # noqa: S608  (made of constants)


async def lock_pools(connection: AsyncConnection, codes: Sequence[str], to: int) -> bool:
    """Lock the pools of these codes and the one that they move to; return False where that is gone."""
    return to in (await connection.execute(LOCK_POOLS, {"codes": list(codes), "to": to})).scalars().all()


async def within_holds(
    connection: AsyncConnection, vouchers: Sequence[tuple[str, int]]
) -> tuple[dict[str, list[str]], int]:
    """Return, by the name of their pool, those of these codes that no hold keeps there, and how many are kept.

    Args:
        connection: of a transaction that has locked the pools.
        vouchers: codes that are available, each with its pool.
    """
    codes: dict[int, list[str]] = defaultdict(list)
    for code, pool_id in vouchers:
        codes[pool_id].append(code)
    free: dict[str, list[str]] = {}
    for row in await connection.execute(FREE, {"ids": list(codes)}):
        free[row.name] = codes[row.id] if row.free is None else codes[row.id][: row.free]
    return free, len(vouchers) - sum(map(len, free.values()))


async def kept(connection: AsyncConnection, numbers: Mapping[int, int]) -> int:
    """Return how many of so many available vouchers, by the id of their pool, holds would keep there."""
    rows = await connection.execute(FREE, {"ids": list(numbers)})
    return sum(max(0, numbers[row.id] - row.free) for row in rows if row.free is not None)


async def move(connection: AsyncConnection, codes: Sequence[str], to: int) -> int:
    """Move those of these vouchers to a pool that are available; return how many."""
    parameters = {"codes": list(codes), "to": to, "slot": SLOT}
    return int((await connection.execute(MOVE, parameters)).scalar_one())
