"""Rows of imports that were set aside, and are taken after all."""

import uuid
from typing import LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.draw_keys import FIRST
from app.domain.lifecycle.stock import SLOT
from app.domain.lifecycle.thresholds import fall
from app.domain.lifecycle.uses import settle

# The draw key is that of the import's other codes, so the accepted ones stand among them. What is not valid yet waits,
# as it would have (`coming.py`).
TAKE = text("""
WITH aside AS (
    SELECT line, staged ->> 'code' AS code, (staged ->> 'expires_at')::timestamptz AS expires_at,
        nullif(staged -> 'attributes', 'null') AS attributes, (staged ->> 'valid_from')::timestamptz AS valid_from
    FROM import_reject WHERE project_id = :project AND import_id = :id AND reason = 'suspicious' AND staged IS NOT NULL
), fresh AS (
    SELECT DISTINCT ON (code) code, pool_id, GREATEST(hashtextextended(code, seed), :least) AS draw_key, number,
        COALESCE(aside.expires_at, (options ->> 'expires_at')::timestamptz) AS until, aside.attributes, line, valid_from
    FROM aside JOIN import ON import.project_id = :project AND import.id = :id ORDER BY code, line
), made AS (
    INSERT INTO voucher (
        project_id, code, pool_id, draw_key, import_number, expires_at, status, expired_at, attributes
    )
    SELECT :project, code, pool_id, draw_key, number, until,
        CASE WHEN until <= now() THEN 'expired' ELSE 'available' END,
        CASE WHEN until <= now() THEN now() END, attributes
    FROM fresh WHERE valid_from IS NULL ORDER BY code
    ON CONFLICT (project_id, code) DO NOTHING RETURNING status
), waiting AS (
    INSERT INTO coming_voucher (
        project_id, code, pool_id, draw_key, import_id, line, valid_from, expires_at, attributes
    )
    SELECT :project, code, pool_id, draw_key, :id, line, valid_from, until, attributes
    FROM fresh WHERE valid_from IS NOT NULL AND NOT EXISTS (
        SELECT FROM voucher WHERE voucher.project_id = :project AND voucher.code = fresh.code
    ) ORDER BY code
    ON CONFLICT (project_id, code) DO NOTHING RETURNING code
)
SELECT (SELECT count(*) FROM made) AS made, (SELECT count(*) FROM made WHERE status = 'expired') AS expired,
    (SELECT count(*) FROM waiting) AS waiting
""")
SET_ASIDE: LiteralString = """
    SELECT DISTINCT staged ->> 'code' FROM import_reject
    WHERE project_id = :project AND import_id = :id AND staged IS NOT NULL
"""
POOL: LiteralString = "(SELECT pool_id FROM import WHERE project_id = :project AND id = :id)"
ELSEWHERE = text(f"""
UPDATE import_reject SET reason = 'in_other_pool', other_pool = pool.name, staged = NULL
FROM pool WHERE pool.project_id = :project
    AND import_reject.project_id = :project AND import_reject.import_id = :id AND reason = 'suspicious'
    AND staged IS NOT NULL AND pool.id <> {POOL} AND pool.id = coalesce(
        (SELECT pool_id FROM voucher WHERE voucher.project_id = :project AND code = staged ->> 'code'),
        (SELECT pool_id FROM coming_voucher WHERE coming_voucher.project_id = :project AND code = staged ->> 'code')
    )
""")  # noqa: S608  (made of constants)
GONE = text("""
DELETE FROM import_reject
WHERE project_id = :project AND import_id = :id AND reason = 'suspicious' AND staged IS NOT NULL
""")
FIGURES = text("""
UPDATE import SET imported = imported + :imported, scheduled = scheduled + :waiting, ignored = ignored + :ignored,
    in_other_pool = in_other_pool + :in_other_pool,
    suspicious = suspicious - :imported - :ignored - :in_other_pool
WHERE project_id = :project AND id = :id
""")
STOCK = text(f"""
WITH fallen AS ({fall(POOL)})
UPDATE stock SET available = available + :made - :expired, expired = expired + :expired
WHERE project_id = :project AND slot = :slot AND pool_id IN {POOL}
""")  # noqa: S608  (made of constants)
ANY = text("""
SELECT EXISTS (SELECT FROM import_reject WHERE project_id = :project AND import_id = :id AND staged IS NOT NULL)
""")


async def take(connection: AsyncConnection, import_id: uuid.UUID) -> dict[str, int]:
    """Bring in the suspicious rows of an import; return what became of them. Those of codes that were given stay."""
    made, expired, waiting = (await connection.execute(TAKE, {"id": import_id, "least": FIRST + 1})).one()
    await settle(connection, SET_ASIDE, {"id": import_id})
    in_other_pool = (await connection.execute(ELSEWHERE, {"id": import_id})).rowcount
    imported = made + waiting
    ignored = (await connection.execute(GONE, {"id": import_id})).rowcount - imported
    figures = {"imported": imported, "ignored": ignored, "in_other_pool": in_other_pool}
    await connection.execute(FIGURES, {"id": import_id, "waiting": waiting, **figures})
    await connection.execute(STOCK, {"id": import_id, "slot": SLOT, "made": made, "expired": expired})
    return figures


async def any_left(connection: AsyncConnection, import_id: uuid.UUID) -> bool:
    """Return whether any suspicious row of an import can be taken: none can that tells to whom its code was given."""
    return bool((await connection.execute(ANY, {"id": import_id})).scalar_one())
