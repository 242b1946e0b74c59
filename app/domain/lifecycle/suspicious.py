"""Rows of imports that were set aside, and are taken after all."""

import uuid
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.draw_keys import FIRST
from app.domain.lifecycle.stock import SLOT
from app.domain.lifecycle.thresholds import fall
from app.domain.lifecycle.uses import settle

# The draw key is that of the import's other codes, so the accepted ones stand among them.
TAKE = text("""
WITH aside AS (
    SELECT line, staged ->> 'code' AS code, (staged ->> 'expires_at')::timestamptz AS expires_at,
        nullif(staged -> 'attributes', 'null') AS attributes
    FROM import_reject WHERE project_id = :project AND import_id = :id AND reason = 'suspicious' AND staged IS NOT NULL
), fresh AS (
    SELECT DISTINCT ON (code) code, pool_id, GREATEST(hashtextextended(code, seed), :least) AS draw_key, number,
        COALESCE(aside.expires_at, (options ->> 'expires_at')::timestamptz) AS until, aside.attributes
    FROM aside JOIN import ON import.project_id = :project AND import.id = :id ORDER BY code, line
), made AS (
    INSERT INTO voucher (
        project_id, code, pool_id, draw_key, import_number, expires_at, status, expired_at, attributes
    )
    SELECT :project, code, pool_id, draw_key, number, until,
        CASE WHEN until <= now() THEN 'expired' ELSE 'available' END,
        CASE WHEN until <= now() THEN now() END, attributes
    FROM fresh ORDER BY code
    ON CONFLICT (project_id, code) DO NOTHING RETURNING status
)
SELECT count(*) AS imported, count(*) FILTER (WHERE status = 'expired') AS expired FROM made
""")
SET_ASIDE: LiteralString = """
    SELECT staged ->> 'code' FROM import_reject WHERE project_id = :project AND import_id = :id AND staged IS NOT NULL
"""
ELSEWHERE = text("""
UPDATE import_reject SET reason = 'in_other_pool', other_pool = pool.name, staged = NULL
FROM voucher JOIN pool ON pool.project_id = :project AND pool.id = voucher.pool_id
WHERE import_reject.project_id = :project AND import_reject.import_id = :id AND reason = 'suspicious'
    AND staged IS NOT NULL AND voucher.project_id = :project AND voucher.code = staged ->> 'code'
    AND voucher.pool_id <> (SELECT pool_id FROM import WHERE project_id = :project AND id = :id)
""")
GONE = text("""
DELETE FROM import_reject
WHERE project_id = :project AND import_id = :id AND reason = 'suspicious' AND staged IS NOT NULL
""")
FIGURES = text("""
UPDATE import SET imported = imported + :imported, ignored = ignored + :ignored,
    in_other_pool = in_other_pool + :in_other_pool,
    suspicious = suspicious - :imported - :ignored - :in_other_pool
WHERE project_id = :project AND id = :id
""")
POOL: LiteralString = "(SELECT pool_id FROM import WHERE project_id = :project AND id = :id)"
STOCK = text(f"""
WITH fallen AS ({fall(POOL)})
UPDATE stock SET available = available + :imported - :expired, expired = expired + :expired
WHERE project_id = :project AND slot = :slot AND pool_id IN {POOL}
""")  # noqa: S608  (made of constants)


async def take(connection: AsyncConnection, import_id: uuid.UUID) -> dict[str, int]:
    """Make vouchers of the suspicious rows of an import; return what became of them."""
    imported, expired = (await connection.execute(TAKE, {"id": import_id, "least": FIRST + 1})).one()
    await settle(connection, SET_ASIDE, {"id": import_id})
    in_other_pool = (await connection.execute(ELSEWHERE, {"id": import_id})).rowcount
    ignored = (await connection.execute(GONE, {"id": import_id})).rowcount - imported
    figures = {"imported": imported, "ignored": ignored, "in_other_pool": in_other_pool}
    await connection.execute(FIGURES, {"id": import_id, **figures})
    await connection.execute(STOCK, {"id": import_id, "slot": SLOT, "imported": imported, "expired": expired})
    return figures
