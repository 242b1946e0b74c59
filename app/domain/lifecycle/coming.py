"""Codes that come into their pool at a time, and until then are in none: nobody draws, counts or walks over them.

They wait in a table of their own, so that a pool without such codes pays nothing, and one with many draws as ever. A
sweep brings in what is due. A code that has come into a pool by another way meanwhile stays as it is, and is told.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.stock import SLOT
from app.domain.lifecycle.thresholds import note_fallen
from app.domain.lifecycle.uses import settle
from app.platform import records
from app.platform.database import patience

COME_IN = "SELECT project_id FROM coming_voucher WHERE valid_from <= now()"
"""SQL: the projects in which codes come."""

ADD = """
WITH added AS (
    INSERT INTO coming_voucher (
        project_id, code, pool_id, draw_key, import_id, line, valid_from, expires_at, attributes
    )
    SELECT %(project)s, code, %(pool_id)s, draw_key, %(import_id)s, line, valid_from, until, attributes
    FROM judged WHERE verdict = 'later' ORDER BY code RETURNING code
)
UPDATE import SET scheduled = scheduled + (SELECT count(*) FROM added)
WHERE project_id = %(project)s AND id = %(import_id)s
"""
"""Of the rows that are judged (`past.py`)."""

# Whoever deletes a pool locks it first: what comes into it is deleted with it, or finds it gone.
POOLS = text("""
SELECT id FROM pool WHERE project_id = :project AND id IN (
    SELECT pool_id FROM coming_voucher WHERE project_id = :project
        AND valid_from <= now() ORDER BY valid_from LIMIT :most
) ORDER BY id FOR KEY SHARE
""")
COME = text("""
WITH due AS (
    DELETE FROM coming_voucher WHERE project_id = :project AND code = ANY (ARRAY(
        SELECT code FROM coming_voucher
        WHERE project_id = :project AND valid_from <= now() AND pool_id = ANY (CAST(:pools AS bigint[]))
        ORDER BY valid_from, code LIMIT :most FOR UPDATE SKIP LOCKED
    )) RETURNING *
), made AS (
    INSERT INTO voucher (
        project_id, code, pool_id, draw_key, import_number, expires_at, attributes, status, expired_at
    )
    SELECT project_id, code, pool_id, draw_key,
        (SELECT number FROM import WHERE import.project_id = due.project_id AND import.id = due.import_id),
        expires_at, attributes,
        CASE WHEN expires_at <= now() THEN 'expired' ELSE 'available' END,
        CASE WHEN expires_at <= now() THEN now() END
    FROM due ORDER BY code ON CONFLICT (project_id, code) DO NOTHING RETURNING code, status
)
SELECT due.code, due.pool_id, due.import_id, due.line, made.status::text AS status FROM due LEFT JOIN made USING (code)
""")
CODES = "SELECT unnest(CAST(:codes AS text[]))"
STOCK = text("""
UPDATE stock SET available = stock.available + moved.available, expired = stock.expired + moved.expired
FROM unnest(CAST(:pools AS bigint[]), CAST(:available AS bigint[]), CAST(:expired AS bigint[]))
    AS moved (pool_id, available, expired)
WHERE stock.project_id = :project AND stock.pool_id = moved.pool_id AND slot = :slot
""")
FIGURES = text("""
UPDATE import SET scheduled = scheduled - come.n
FROM unnest(CAST(:imports AS uuid[]), CAST(:n AS bigint[])) AS come (import_id, n)
WHERE import.project_id = :project AND import.id = come.import_id
""")
# The rows of an import stay as many as they were.
LOST = text("""
WITH lost AS (
    SELECT lost.*, voucher.pool_id <> lost.pool_id AS elsewhere, pool.name
    FROM unnest(
        CAST(:imports AS uuid[]), CAST(:lines AS bigint[]), CAST(:codes AS text[]), CAST(:pools AS bigint[])
    ) AS lost (import_id, line, code, pool_id)
    JOIN voucher ON voucher.project_id = :project AND voucher.code = lost.code
    JOIN pool ON pool.project_id = :project AND pool.id = voucher.pool_id
    JOIN import ON import.project_id = :project AND import.id = lost.import_id
), told AS (
    INSERT INTO import_reject (project_id, import_id, line, value, reason, other_pool)
    SELECT :project, import_id, line, code, 'in_other_pool', name FROM lost WHERE elsewhere ON CONFLICT DO NOTHING
)
UPDATE import SET imported = imported - sums.n, in_other_pool = in_other_pool + sums.elsewhere,
    ignored = ignored + sums.n - sums.elsewhere
FROM (
    SELECT import_id, count(*) AS n, count(*) FILTER (WHERE elsewhere) AS elsewhere FROM lost GROUP BY import_id
) AS sums WHERE import.project_id = :project AND import.id = sums.import_id
""")
TAKE_BACK = text("""
WITH gone AS (DELETE FROM coming_voucher WHERE project_id = :project AND import_id = :import_id RETURNING code)
UPDATE import SET scheduled = scheduled - (SELECT count(*) FROM gone), undone = undone + (SELECT count(*) FROM gone)
WHERE project_id = :project AND id = :import_id RETURNING (SELECT count(*) FROM gone)
""")
OF_CODE = text("""
SELECT pool.name AS pool, valid_from
FROM coming_voucher AS coming JOIN pool ON pool.project_id = :project AND pool.id = pool_id
WHERE coming.project_id = :project AND code = :code
""")


@dataclass(frozen=True, slots=True)
class Come:
    """A code whose time has come; `status` is null where it was in a pool already."""

    code: str
    pool_id: int
    import_id: uuid.UUID
    line: int
    status: str | None


@dataclass(frozen=True, slots=True)
class ToCome:
    """Where a code will come, and when."""

    pool: str
    valid_from: datetime


async def come(connection: AsyncConnection, most: int) -> int:
    """Bring up to `most` codes whose time has come into their pools; return how many were due."""
    pools = (await connection.execute(POOLS, {"most": most})).scalars().all()
    if not pools:
        return 0
    rows = records.all_of(await connection.execute(COME, {"pools": pools, "most": most}), Come)
    made = [row for row in rows if row.status is not None]
    per_import = Counter(row.import_id for row in rows)
    figures = {"imports": list(per_import), "n": list(per_import.values())}
    await connection.execute(FIGURES, figures)
    await _tell_lost(connection, [row for row in rows if row.status is None])
    if made:
        await settle(connection, CODES, {"codes": [row.code for row in made]})
        available = Counter(row.pool_id for row in made if row.status == "available")
        expired = Counter(row.pool_id for row in made if row.status == "expired")
        moved = {
            "pools": pools,
            "available": [available[pool] for pool in pools],
            "expired": [expired[pool] for pool in pools],
            "slot": SLOT,
        }
        await note_fallen(connection, pools)
        await connection.execute(STOCK, moved)  # last, because draws wait for it
    return len(rows)


async def _tell_lost(connection: AsyncConnection, lost: Sequence[Come]) -> None:
    if lost:
        values = {
            "imports": [row.import_id for row in lost],
            "lines": [row.line for row in lost],
            "codes": [row.code for row in lost],
            "pools": [row.pool_id for row in lost],
        }
        await connection.execute(LOST, values)


async def take_back(connection: AsyncConnection, import_id: uuid.UUID) -> int:
    """Delete the codes of an import that have not come yet; return how many. It waits for those that come just now."""
    async with patience(connection):
        return int((await connection.execute(TAKE_BACK, {"import_id": import_id})).scalar_one())


async def of_code(connection: AsyncConnection, code: str) -> ToCome | None:
    """Return where a code will come, and when; None where it will not."""
    return records.any_of(await connection.execute(OF_CODE, {"code": code}), ToCome)
