"""Recount, and prove what must always hold: one statement, and so one snapshot, also while the service works."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.database import READS_ALL
from app.schema.base import VoucherStatus
from app.schema.inventory import NOT_EXPIRED, STOCK_SLOTS

# Every state of a pool as a row of its own.
_KEPT = "\n        UNION ALL ".join(
    f"SELECT project_id, pool_id, '{state}' AS status, sum({state}) AS n FROM stock GROUP BY 1, 2"  # noqa: S608
    for state in VoucherStatus
)

# What is wrong, and examples of it: a pool's name or an assignment's id, never a code.
INVARIANTS = {
    "the stock of a pool does not agree with its vouchers": f"""
        WITH counted AS MATERIALIZED (SELECT project_id, pool_id, status, count(*) AS n FROM voucher GROUP BY 1, 2, 3)
        SELECT concat(name, ' has ', coalesce(counted.n, 0), ' ', kept.status, ', and its stock says ', kept.n)
        FROM ({_KEPT}) AS kept JOIN pool ON (pool.project_id, pool.id) = (kept.project_id, kept.pool_id)
        LEFT JOIN counted ON (counted.project_id, counted.pool_id) = (kept.project_id, kept.pool_id)
            AND counted.status = kept.status
        WHERE kept.n <> coalesce(counted.n, 0)""",  # noqa: S608  (made of constants)
    "a pool does not have its slots of stock": f"""
        SELECT min(pool.name) FROM pool LEFT JOIN stock
            ON (stock.project_id, stock.pool_id) = (pool.project_id, pool.id)
        GROUP BY pool.project_id, pool.id HAVING count(stock.slot) <> {STOCK_SLOTS}""",  # noqa: S608  (made of constants)
    "a voucher is in no pool": """
        SELECT 'pool ' || pool_id FROM voucher WHERE (project_id, pool_id) NOT IN (SELECT project_id, id FROM pool)""",
    "a voucher tells neither when it came nor by which import": """
        SELECT 'pool ' || voucher.pool_id FROM voucher LEFT JOIN import
            ON (import.project_id, import.number) = (voucher.project_id, voucher.import_number)
        WHERE (voucher.imported_at IS NULL OR voucher.import_number IS NOT NULL) AND import.number IS NULL""",
    "a code is assigned more than once": """
        SELECT min(id::text) FROM assignment WHERE released_at IS NULL
        GROUP BY project_id, code HAVING count(*) > 1""",
    "an assignment that stands is not that of its voucher": """
        SELECT assignment.id::text FROM assignment LEFT JOIN voucher USING (project_id, code)
        WHERE released_at IS NULL AND (voucher.assignment_id, voucher.pool_id)
            IS DISTINCT FROM (assignment.id, assignment.pool_id)""",
    "a voucher that was handed out has no ledger row that stands": """
        SELECT voucher.assignment_id::text FROM voucher LEFT JOIN assignment
            ON assignment.project_id = voucher.project_id AND assignment.id = assignment_id
        WHERE assignment_id IS NOT NULL
            AND (assignment.code IS DISTINCT FROM voucher.code OR released_at IS NOT NULL)""",
    "a lease and its voucher disagree": """
        SELECT voucher.assignment_id::text FROM voucher JOIN assignment
            ON assignment.project_id = voucher.project_id AND assignment.id = assignment_id
        WHERE (status = 'reserved') <> (lease_until IS NOT NULL)""",
    "an assignment that is not reserved has a lease, or one that lapsed was not released": """
        SELECT id::text FROM assignment
        WHERE (lease_until IS NOT NULL AND (lease_seconds IS NULL OR released_at IS NOT NULL))
            OR (lapsed AND released_at IS NULL)""",
    "a hold does not agree with what was drawn from it": """
        SELECT concat(hold.id, ' has drawn ', drawn, ', and the ledger says ', coalesce(counted.n, 0))
        FROM hold LEFT JOIN (
            SELECT project_id, hold_id, count(*) AS n FROM assignment
            WHERE hold_id IS NOT NULL AND released_at IS NULL GROUP BY project_id, hold_id
        ) AS counted ON (counted.project_id, counted.hold_id) = (hold.project_id, hold.id)
        WHERE drawn <> drawn_before + coalesce(counted.n, 0)""",
    "a redeemed voucher has no redemption": """
        SELECT coalesce(assignment_id::text, 'never assigned') FROM voucher
        WHERE status = 'redeemed' AND NOT EXISTS (
            SELECT FROM redemption
            WHERE redemption.project_id = voucher.project_id AND redemption.code = voucher.code
                AND outcome IN ('redeemed', 'not_assigned', 'other_customer')
        )""",
    "a code is known to be used and could be drawn": f"""
        SELECT redemption.id::text FROM redemption JOIN voucher USING (project_id, code)
        WHERE effect = 'redeem' AND outcome <> 'cancelled' AND status = 'available'
            AND (outcome <> 'expired' OR {NOT_EXPIRED})""",  # noqa: S608  (made of constants)
    "a use stands, and its voucher is not redeemed": """
        SELECT redemption.id::text FROM redemption JOIN voucher USING (project_id, code)
        WHERE outcome IN ('redeemed', 'not_assigned', 'other_customer', 'already_redeemed')
            AND status <> 'redeemed'""",
    "a use is of an unknown code, and a pool has the code and gave it to nobody": """
        SELECT redemption.id::text FROM redemption JOIN voucher USING (project_id, code)
        WHERE effect = 'redeem' AND outcome = 'unknown_code' AND assignment_id IS NULL AND status <> 'redeemed'""",
    "a use is cancelled, and no cancellation says so": """
        SELECT min(id::text) FROM redemption WHERE outcome = 'cancelled'
        GROUP BY project_id, code HAVING count(*) FILTER (WHERE effect = 'cancel') = 0""",
    "an import does not agree with the codes that it has yet to bring": """
        SELECT import.id::text FROM import LEFT JOIN (
            SELECT project_id, import_id, count(*) AS n FROM coming_voucher GROUP BY project_id, import_id
        ) AS counted ON (counted.project_id, counted.import_id) = (import.project_id, import.id)
        WHERE scheduled <> coalesce(counted.n, 0)""",
    "the stock of a pool does not know its holds": """
        SELECT pool.name FROM pool JOIN stock ON (stock.project_id, stock.pool_id) = (pool.project_id, pool.id)
        WHERE holds <> (SELECT count(*) FROM hold WHERE (hold.project_id, hold.pool_id) = (pool.project_id, pool.id)
                AND drawn < size)
            + num_nonnulls(per_customer, expires_after_days)""",
    "a code ends as its pool says for who has it, and nobody has it, or it would have ended before": """
        SELECT coalesce(assignment_id::text, 'nobody has it') FROM voucher
        WHERE own_expires_at IS NOT NULL
            AND (assignment_id IS NULL OR expires_at IS NULL OR expires_at >= own_expires_at)""",
}

_CHECKS = "\nUNION ALL\n".join(
    f"SELECT {place} AS place, count(*) AS n, min(example) AS example FROM ({query}) AS broken (example)"  # noqa: S608
    for place, query in enumerate(INVARIANTS.values())
)
# Each table by its name is what the project has of it.
_TABLES = ",\n".join(
    f"{table} AS NOT MATERIALIZED (SELECT * FROM {table} WHERE project_id = :project)"  # noqa: S608
    for table in ("stock", "pool", "voucher", "assignment", "hold", "redemption", "import", "coming_voucher")
)
VIOLATIONS = text(f"""
WITH {_TABLES}
SELECT place, n, example FROM ({_CHECKS}) AS checked WHERE n > 0 ORDER BY place
""")  # noqa: S608  (made of constants)


async def violations(connection: AsyncConnection) -> list[str]:
    """Return which invariants are broken in the project, each with how often and an example; empty: none.

    All of it is of one snapshot, so that work under way does no harm to the answer, nor the answer to it.
    """
    names = list(INVARIANTS)
    await connection.execute(text(READS_ALL))
    rows = await connection.execute(VIOLATIONS)
    return [f"{names[row.place]}: {row.n} (such as {row.example})" for row in rows]
