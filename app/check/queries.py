"""SQL of the invariants: one statement, and so one snapshot, that also holds while the service works."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.models import STOCK_SLOTS, VoucherStatus


# What is wrong, how often, and an example: a pool's name or an assignment's id, never a code.
INVARIANTS = {
    "the stock of a pool does not agree with its vouchers": f"""
        SELECT pool.name || ' ' || kept.status || ': ' || kept.n || ' kept, ' || coalesce(counted.n, 0) || ' counted'
        FROM (
            SELECT pool_id, state.status, state.n FROM stock_sums
            CROSS JOIN LATERAL (VALUES {", ".join(f"('{state}', stock_sums.{state})" for state in VoucherStatus)})
                AS state (status, n)
        ) AS kept
        JOIN pool ON pool.id = kept.pool_id
        LEFT JOIN (SELECT pool_id, status, count(*) AS n FROM voucher GROUP BY pool_id, status) AS counted
            ON counted.pool_id = kept.pool_id AND counted.status::text = kept.status
        WHERE kept.n <> coalesce(counted.n, 0)""",
    "a pool does not have its slots of stock": f"""
        SELECT pool.name FROM pool LEFT JOIN stock ON stock.pool_id = pool.id
        GROUP BY pool.id HAVING count(stock.slot) <> {STOCK_SLOTS}""",
    "a voucher is in no pool": """
        SELECT 'pool ' || pool_id FROM voucher WHERE pool_id NOT IN (SELECT id FROM pool)""",
    "a code is assigned more than once": """
        SELECT min(id::text) FROM assignment WHERE released_at IS NULL GROUP BY code HAVING count(*) > 1""",
    "an assignment that stands is not that of its voucher": """
        SELECT assignment.id::text FROM assignment LEFT JOIN voucher USING (code)
        WHERE released_at IS NULL AND (voucher.assignment_id, voucher.pool_id)
            IS DISTINCT FROM (assignment.id, assignment.pool_id)""",
    "a voucher that was handed out has no ledger row that stands": """
        SELECT voucher.assignment_id::text FROM voucher LEFT JOIN assignment ON assignment.id = assignment_id
        WHERE assignment_id IS NOT NULL AND (assignment.code IS DISTINCT FROM voucher.code OR released_at IS NOT NULL)""",
    "a lease and its voucher disagree": """
        SELECT voucher.assignment_id::text FROM voucher JOIN assignment ON assignment.id = assignment_id
        WHERE (status = 'reserved') <> (lease_until IS NOT NULL)""",
    "a redeemed voucher has no redemption": """
        SELECT coalesce(assignment_id::text, 'never assigned') FROM voucher
        WHERE status = 'redeemed' AND NOT EXISTS (
            SELECT FROM redemption WHERE redemption.code = voucher.code
                AND outcome IN ('redeemed', 'not_assigned', 'other_customer')
        )""",
    "a redemption has a voucher that is not redeemed": """
        SELECT redemption.id::text FROM redemption JOIN voucher USING (code)
        WHERE outcome IN ('redeemed', 'not_assigned', 'other_customer') AND status <> 'redeemed'""",
    "the stock of a pool does not know its holds": """
        SELECT pool.name FROM pool JOIN stock ON stock.pool_id = pool.id
        WHERE holds <> (SELECT count(*) FROM hold WHERE hold.pool_id = pool.id AND drawn < size)""",
}

_SUMS = ", ".join(f"sum({state})::bigint AS {state}" for state in VoucherStatus)
_CHECKS = "\nUNION ALL\n".join(
    f"SELECT {place} AS place, count(*) AS n, min(example) AS example FROM ({query}) AS broken (example)"
    for place, query in enumerate(INVARIANTS.values())
)
VIOLATIONS = text(f"""
WITH stock_sums AS (SELECT pool_id, {_SUMS} FROM stock GROUP BY pool_id)
SELECT place, n, example FROM ({_CHECKS}) AS checked WHERE n > 0 ORDER BY place
""")  # noqa: S608  (made of constants)


async def violations(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """Which invariants are broken: `place` in INVARIANTS, how often, and an example."""
    return (await connection.execute(VIOLATIONS)).all()
