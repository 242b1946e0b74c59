"""SQL of what comes into the inventory and leaves it."""

import uuid
from dataclasses import dataclass
from typing import LiteralString

from sqlalchemy import delete, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import patience
from app.schema.imports import Import
from app.schema.inventory import ANY_STATE, ComingVoucher, Stock, Voucher, of_import

# `rows` have `code`, `draw_key`, `expires_at`, `attributes` and `line`. In draw order, so that heap and index agree.
VOUCHERS: LiteralString = """
INSERT INTO voucher (
    project_id, code, pool_id, draw_key, import_number, imported_at, expires_at, status, expired_at, attributes
)
SELECT %(project)s, code, %(pool_id)s, draw_key,
    (SELECT number FROM import WHERE project_id = %(project)s AND id = %(import_id)s), NULL, until,
    CASE WHEN until <= now() THEN 'expired' ELSE 'available' END,
    CASE WHEN until <= now() THEN now() END, attributes
FROM (SELECT *, COALESCE(expires_at, %(expires_at)s) AS until FROM ({rows}) AS chunk) AS chunk
ORDER BY draw_key, line
"""
# Of codes that bring nothing but themselves: all is as the table has it by default, and that is quicker by a tenth.
PLAIN: LiteralString = """
INSERT INTO voucher (project_id, code, pool_id, draw_key, import_number, imported_at)
SELECT %(project)s, code, %(pool_id)s, draw_key,
    (SELECT number FROM import WHERE project_id = %(project)s AND id = %(import_id)s), NULL
FROM ({rows}) AS chunk ORDER BY draw_key, line
"""
# A code that has expired comes in as expired: it is never counted as available. It may be in the chunk twice.
EXPIRED: LiteralString = f"""
SELECT count(DISTINCT voucher.code) FROM ({{rows}}) AS chunk JOIN voucher USING (code)
WHERE voucher.project_id = %(project)s AND COALESCE(chunk.expires_at, %(expires_at)s) <= now()
    AND {of_import("%(import_id)s", "%(project)s")}
    AND voucher.status = 'expired'
"""  # noqa: S608  (made of constants)
STOCK = """
UPDATE stock SET available = available + %(imported)s - %(expired)s, expired = expired + %(expired)s
WHERE project_id = %(project)s AND pool_id = %(pool_id)s AND slot = %(slot)s
"""

# Whoever stores a use locks the voucher first: what was said of these codes is committed once all are locked, and seen
# by the statement after this one; who comes later waits, and finds a code that no pool holds. So no use of another
# code has to wait.
LOCK_FREE = text(f"""
WITH part AS MATERIALIZED (
    SELECT code, draw_key, {of_import(":import_id")} AS is_of_import FROM voucher
    WHERE project_id = :project AND pool_id = :pool_id AND status = 'available' AND draw_key > :after
    ORDER BY draw_key LIMIT :at_a_time
), locked AS MATERIALIZED (
    SELECT code FROM voucher
    WHERE project_id = :project AND code = ANY (ARRAY(
            SELECT code FROM part WHERE is_of_import ORDER BY draw_key LIMIT CAST(:free AS bigint)
        )) AND pool_id = :pool_id AND status = 'available' AND {of_import(":import_id")}
    ORDER BY code FOR UPDATE
)
SELECT (SELECT max(draw_key) FROM part HAVING count(*) = :at_a_time) AS upto, ARRAY(SELECT code FROM locked) AS codes
""")  # noqa: S608  (made of constants)
# What was said of the use of such a code (after its expiry, say) is of a code that no pool holds from now on: the next
# import of it finds that.
TAKE_BACK = text("""
WITH gone AS (
    DELETE FROM voucher
    WHERE project_id = :project AND code = ANY (CAST(:codes AS text[])) AND status = 'available' RETURNING code
), unknown AS (
    UPDATE redemption SET outcome = 'unknown_code' FROM gone
    WHERE redemption.project_id = :project AND redemption.code = gone.code
)
SELECT count(*) FROM gone
""")


AVAILABLE = text(f"""
SELECT count(*) FROM voucher
WHERE project_id = :project AND pool_id = :pool_id AND status = 'available' AND {of_import(":import_id")}
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the available vouchers of a pool, among which those of an import are taken back."""

    import_id: uuid.UUID
    pool_id: int
    after: int
    """The draw key behind which they stand."""
    at_a_time: int
    free: int | None
    """How many may be taken; None: all."""


async def take_back(connection: AsyncConnection, part: Part, slot: int) -> tuple[int, int | None]:
    """Delete the vouchers of an import that are available; return how many, and the last draw key if there is more."""
    # The state is looked at again after waiting for a draw, so what was drawn meanwhile stays.
    values = {
        "pool_id": part.pool_id,
        "import_id": part.import_id,
        "after": part.after,
        "at_a_time": part.at_a_time,
        "free": None if part.free is None else max(part.free, 0),
    }
    async with patience(connection):
        row = (await connection.execute(LOCK_FREE, values)).one()
        count = int((await connection.execute(TAKE_BACK, {"codes": row.codes})).scalar_one())
    fewer = update(Stock).where(Stock.pool_id == part.pool_id, Stock.slot == slot)
    await connection.execute(fewer.values(available=Stock.available - count))
    await connection.execute(
        update(Import).where(Import.id == part.import_id).values(undone=Import.undone + count)
    )
    return count, row.upto


async def count_left(connection: AsyncConnection, part: Part) -> int:
    """Return how many vouchers of an import are available."""
    values = {"pool_id": part.pool_id, "import_id": part.import_id}
    async with patience(connection):
        return int((await connection.execute(AVAILABLE, values)).scalar_one())


# Locked in the order of the codes, as everybody locks them; then nothing is left to wait for.
LOCK_ALL = text(f"""
SELECT count(*) FROM (
    SELECT FROM voucher WHERE project_id = :project AND pool_id = :pool_id AND {ANY_STATE} ORDER BY code FOR UPDATE
) AS locked
""")  # noqa: S608  (made of constants)


async def lock_vouchers(connection: AsyncConnection, pool_id: int) -> None:
    """Lock the vouchers of a pool; waits for draws and uses of them that are under way, and these alone."""
    async with patience(connection):
        await connection.execute(LOCK_ALL, {"pool_id": pool_id})


async def remove_vouchers(connection: AsyncConnection, pool_id: int) -> None:
    """Delete the vouchers of a pool, which are locked, and what has yet to come into it."""
    async with patience(connection):
        await connection.execute(delete(ComingVoucher).where(ComingVoucher.pool_id == pool_id))
        coming = update(Import).where(Import.pool_id == pool_id, Import.scheduled > 0)
        await connection.execute(coming.values(scheduled=0))
        await connection.execute(delete(Voucher).where(Voucher.pool_id == pool_id, text(ANY_STATE)))
