"""Uses of codes and what makes codes drawable keep out of each other's way, so that a used code is never drawn.

Every transaction that stores uses holds USES shared, from before it looks at mapping and vouchers to its end. Whoever
makes new codes drawable or changes the mapping takes it alone, once its own rows are written: it then sees every use
that was stored before, and every use after it sees what it did. There is no time in between, because PostgreSQL makes
a transaction visible before it lets go of its locks.

Whoever takes vouchers away (an undone import, a deleted pool) locks these vouchers, as a use of them does: no use of
another code waits for it, however many there are.
"""

from typing import LiteralString

from psycopg import Connection
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.order import MOMENT
from app.domain.lifecycle.stock import SLOT
from app.platform import advisory
from app.platform.settings import get_settings

SHARED = text(f"SELECT pg_advisory_xact_lock_shared({advisory.USES}, :project)")
ALONE: LiteralString = f"SELECT pg_advisory_xact_lock({advisory.USES}, {{project}})"

USED: LiteralString = """EXISTS (
    SELECT FROM redemption
    WHERE redemption.project_id = :project AND redemption.code = voucher.code AND redemption.effect = 'redeem'
        AND redemption.outcome <> 'cancelled'
)"""
"""SQL: whether any use of a `voucher` is known but cancelled ones: nothing makes it drawable any more.

Also one that changed nothing, because the code was void or expired then, or that is not judged yet: the shop may have
taken it all the same.
"""

ANY_UNKNOWN: LiteralString = """
SELECT FROM redemption WHERE project_id = {project} AND outcome = 'unknown_code' LIMIT 1
"""

# A code that was never given: its first use takes it, the others come too late. What is used after its expiry is an
# issue and takes nothing, as for any voucher (app/domain/redemptions/rules.py). What could be drawn has not expired
# yet, whatever the shop's clock says.
SETTLE: LiteralString = """
WITH used AS MATERIALIZED (
    SELECT redemption.id, redemption.redeemed_at, redemption.created_at, voucher.code, voucher.pool_id, voucher.status,
        coalesce(
            redemption.redeemed_at >= voucher.expires_at + make_interval(secs => {tolerance})
                AND voucher.expires_at <= now(), false
        ) AS late
    FROM ({codes}) AS fresh (code)
    JOIN redemption ON redemption.project_id = {project} AND redemption.code = fresh.code
        AND redemption.outcome = 'unknown_code'
        AND redemption.effect = 'redeem'
    JOIN voucher ON voucher.project_id = {project} AND voucher.code = fresh.code
        AND voucher.assignment_id IS NULL AND voucher.status IN ('available', 'expired')
), judged AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY code, late ORDER BY redeemed_at, created_at, id) AS turn FROM used
), outcomes AS (
    UPDATE redemption SET outcome = CASE
        WHEN late THEN 'expired' WHEN turn = 1 THEN 'not_assigned' ELSE 'already_redeemed' END
    FROM judged WHERE redemption.project_id = {project} AND redemption.id = judged.id
), taken AS (
    UPDATE voucher SET status = 'redeemed', redeemed_at = judged.redeemed_at, expired_at = NULL
    FROM judged
    WHERE judged.turn = 1 AND NOT judged.late AND voucher.project_id = {project} AND voucher.code = judged.code
    RETURNING voucher.pool_id, voucher.code, judged.status AS before, judged.redeemed_at
), told AS (
    INSERT INTO pool_change (project_id, changed_at, pool_id, code, before, after, used_at)
    SELECT {project}, {moment}, pool_id, code, before, 'redeemed', redeemed_at FROM taken
), sums AS (
    SELECT pool_id, count(*) AS n, count(*) FILTER (WHERE before = 'available') AS available,
        count(*) FILTER (WHERE before = 'expired') AS expired
    FROM taken GROUP BY pool_id
)
UPDATE stock SET redeemed = redeemed + sums.n, available = stock.available - sums.available,
    expired = stock.expired - sums.expired, given_besides = stock.given_besides - sums.n
FROM sums WHERE stock.project_id = {project} AND stock.pool_id = sums.pool_id AND stock.slot = {slot}
"""


async def beside_others(connection: AsyncConnection) -> None:
    """Begin to store uses; until the transaction ends, no code becomes drawable and no mapping changes."""
    await connection.execute(SHARED)


async def alone(connection: AsyncConnection) -> None:
    """Wait for the uses that are being stored; until the transaction ends, no other is."""
    await connection.execute(text(ALONE.format(project=":project")))


def alone_on(connection: Connection[TupleRow]) -> None:
    """Wait as `alone` does, on a connection of the driver."""
    connection.execute(ALONE.format(project="%(project)s").encode(), {})


async def settle(connection: AsyncConnection, codes: LiteralString, parameters: dict[str, object]) -> None:
    """Settle the uses that are known of codes which this transaction has made vouchers of.

    Args:
        connection: of the transaction.
        codes: a query of the codes.
        parameters: what the query takes.
    """
    await alone(connection)
    if (await connection.execute(text(ANY_UNKNOWN.format(project=":project")))).first() is not None:
        await connection.execute(text(_settling(codes, ":project")), parameters)


def settle_chunk(
    connection: Connection[TupleRow], codes: LiteralString, parameters: dict[str, object]
) -> None:
    """Settle as `settle` does, on a connection of the driver."""
    alone_on(connection)
    if connection.execute(ANY_UNKNOWN.format(project="%(project)s").encode(), {}).fetchone() is not None:
        connection.execute(_settling(codes, "%(project)s").encode(), parameters)


def _settling(codes: LiteralString, project: LiteralString) -> str:
    tolerance = float(get_settings().clock_tolerance_seconds)
    return SETTLE.format(codes=codes, project=project, slot=SLOT, tolerance=tolerance, moment=MOMENT)
