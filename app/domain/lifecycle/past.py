"""SQL of codes that were given elsewhere, and come in with whom they were given to: the third way to hand out a code.

A code that is not there yet comes in as given. One that is in the pool and that nobody has is given from what is
available, locked as a draw locks it: of a draw and the import of its past one comes first, and the other finds it
given. What was used elsewhere is redeemed, also where it was given here, or went back to the pool since. Each change is
told as other changes are, for the times of the ledger lie in the past, where readers have been (docs/decisions/0048).

Rows are judged under the locks of their codes, and then all is done by what was judged.
"""

from collections.abc import Mapping
from typing import LiteralString

from psycopg import Connection
from psycopg.rows import TupleRow

from app.domain.lifecycle import coming
from app.domain.lifecycle.order import MOMENT
from app.domain.lifecycle.uses import alone_on
from app.platform.settings import get_settings

JUDGED = """
CREATE TEMP TABLE judged (
    line bigint, code text COLLATE "C", draw_key bigint, until timestamptz, attributes jsonb, id uuid,
    customer_id text, customer_mark bytea, campaign_id text, given_at timestamptz, used_at timestamptz,
    valid_from timestamptz, before text, verdict text
) ON COMMIT DELETE ROWS
"""

LOCK: LiteralString = """
SELECT count(*) FROM (
    SELECT FROM voucher WHERE project_id = %(project)s AND code = ANY (ARRAY(SELECT code FROM ({rows}) AS chunk))
    ORDER BY code FOR UPDATE
) AS locked
"""
# `rows` have `line`, `code`, `draw_key`, `expires_at`, `attributes`, `id`, `customer_id`, `campaign_id`, `given_at`,
# `used_at` and `valid_from`. The same assignment again changes nothing, whatever became of it since, but for a use that
# was not heard of: that one takes the code, or is told. Of rows that say the same of a code, whichever tells the use
# tells it for the first. An assignment that went back is not made anew. Who was erased is known by a mark.
JUDGE: LiteralString = """
INSERT INTO judged
SELECT line, code, draw_key, until, attributes,
    CASE WHEN verdict = 'used' THEN assignment_id WHEN NOT known THEN id END,
    CASE WHEN mark IS NULL THEN customer_id END, mark, campaign_id,
    CASE WHEN verdict = 'used' THEN held_since WHEN NOT known AND id IS NOT NULL THEN least(given_at, used_at) END,
    used_at, valid_from, CASE WHEN verdict = 'used' THEN status END, verdict
FROM (
    SELECT chunk.*, coalesce(chunk.expires_at, %(expires_at)s) AS until, voucher.status, voucher.assignment_id,
        holder.assigned_at AS held_since, ledger.id IS NOT NULL AS known,
        CASE WHEN is_same THEN holder.customer_mark ELSE ledger.customer_mark END AS mark,
        CASE
            WHEN chunk.valid_from IS NOT NULL THEN CASE
                WHEN turn > 1 THEN 'same'
                WHEN coalesce(voucher.pool_id, coming.pool_id) IS NULL THEN 'later'
                WHEN coalesce(voucher.pool_id, coming.pool_id) = %(pool_id)s THEN 'same'
                ELSE 'elsewhere' END
            WHEN turn > 1 THEN CASE
                WHEN given_id IS NOT DISTINCT FROM first_customer THEN 'same' ELSE 'given_to_another' END
            WHEN voucher.code IS NULL THEN CASE WHEN ledger.id IS NULL OR is_news THEN 'new' ELSE 'same' END
            WHEN voucher.pool_id IS DISTINCT FROM %(pool_id)s THEN 'elsewhere'
            WHEN ledger.id IS NOT NULL AND (NOT is_news OR voucher.status = 'redeemed') THEN 'same'
            WHEN voucher.status = 'available' THEN 'taken'
            WHEN is_same THEN CASE
                WHEN NOT is_news OR voucher.status = 'redeemed' THEN 'same'
                WHEN voucher.status IN ('assigned', 'reserved') THEN 'used'
                ELSE 'not_available' END
            WHEN chunk.id IS NULL AND voucher.status = 'redeemed' THEN 'same'
            WHEN voucher.assignment_id IS NOT NULL THEN 'given_to_another'
            ELSE 'not_available'
        END AS verdict
    FROM (
        SELECT line, code, draw_key, expires_at, attributes, id, campaign_id, valid_from, given_at,
            min(used_at) OVER same_given AS used_at,
            coalesce(person.customer_id, chunk.customer_id) AS customer_id, chunk.customer_id AS given_id,
            row_number() OVER same_code AS turn, first_value(chunk.customer_id) OVER same_code AS first_customer
        FROM ({rows}) AS chunk LEFT JOIN LATERAL (
            SELECT customer_id FROM customer_alias
            WHERE project_id = %(project)s AND customer_alias.id = chunk.customer_id OFFSET 0
        ) AS person ON true
        WINDOW same_code AS (PARTITION BY code ORDER BY valid_from IS NOT NULL, line),
            same_given AS (PARTITION BY code, chunk.customer_id)
    ) AS chunk CROSS JOIN (SELECT coalesce((SELECT key FROM erasure_key LIMIT 1), '') AS key) AS secret
    LEFT JOIN LATERAL (
        SELECT * FROM voucher WHERE project_id = %(project)s AND voucher.code = chunk.code OFFSET 0
    ) AS voucher ON true
    LEFT JOIN LATERAL (
        SELECT * FROM coming_voucher WHERE project_id = %(project)s AND coming_voucher.code = chunk.code OFFSET 0
    ) AS coming ON true
    LEFT JOIN LATERAL (
        SELECT customer_id, customer_mark, assigned_at FROM assignment
        WHERE project_id = %(project)s AND assignment.id = voucher.assignment_id OFFSET 0
    ) AS holder ON true
    LEFT JOIN LATERAL (
        SELECT id, customer_mark FROM assignment
        WHERE project_id = %(project)s AND assignment.id = chunk.id OFFSET 0
    ) AS ledger ON true
    CROSS JOIN LATERAL (
        SELECT chunk.used_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM redemption
            WHERE redemption.project_id = %(project)s AND redemption.code = chunk.code AND effect = 'redeem'
                AND redeemed_at = chunk.used_at
        ) AS is_news, voucher.assignment_id IS NOT NULL AND (
            voucher.assignment_id = chunk.id
            OR holder.customer_id IS NOT DISTINCT FROM chunk.customer_id AND holder.customer_mark IS NULL
            OR holder.customer_mark = sha256(secret.key || convert_to(chunk.customer_id, 'UTF8'))
        ) AS is_same OFFSET 0
    ) AS told
) AS chunk
"""

STATUS = "CASE WHEN used_at IS NULL THEN 'assigned' ELSE 'redeemed' END"
NEW = f"""
INSERT INTO voucher (
    project_id, code, pool_id, draw_key, import_number, imported_at, expires_at, attributes, status, assignment_id,
    assigned_at, redeemed_at
)
SELECT %(project)s, code, %(pool_id)s, draw_key,
    (SELECT number FROM import WHERE project_id = %(project)s AND id = %(import_id)s), NULL, until, attributes,
    {STATUS}, id, given_at, used_at
FROM judged WHERE verdict = 'new' ORDER BY draw_key, line
"""  # noqa: S608  (made of constants)
TAKEN = f"""
UPDATE voucher SET status = {STATUS}, assignment_id = judged.id, assigned_at = judged.given_at,
    redeemed_at = judged.used_at
FROM judged WHERE verdict = 'taken' AND voucher.project_id = %(project)s AND voucher.code = judged.code
    AND voucher.code = ANY (ARRAY(SELECT code FROM judged WHERE verdict = 'taken'))
"""  # noqa: S608  (made of constants)
USED = """
UPDATE voucher SET status = 'redeemed', redeemed_at = judged.used_at, assigned_at = coalesce(assigned_at, now())
FROM judged WHERE verdict = 'used' AND voucher.project_id = %(project)s AND voucher.code = judged.code
    AND voucher.code = ANY (ARRAY(SELECT code FROM judged WHERE verdict = 'used'))
"""
LEDGER = """
INSERT INTO assignment (project_id, id, pool_id, code, customer_id, campaign_id, assigned_at, given_elsewhere)
SELECT %(project)s, id, %(pool_id)s, code, customer_id, campaign_id, given_at, true
FROM judged WHERE verdict IN ('new', 'taken') AND id IS NOT NULL ORDER BY id
"""
LEASES = """
UPDATE assignment SET lease_until = NULL
FROM judged WHERE before = 'reserved' AND assignment.project_id = %(project)s AND assignment.id = judged.id
"""
# As a use of which an event tells (app/domain/redemptions): one from before the code was given was nobody's.
USES = """
INSERT INTO redemption (project_id, code, customer_id, customer_mark, outcome, redeemed_at)
SELECT %(project)s, code, customer_id, customer_mark,
    CASE WHEN given_at <= used_at + make_interval(secs => %(tolerance)s) THEN 'redeemed' ELSE 'not_assigned' END,
    used_at
FROM judged WHERE verdict IN ('new', 'taken', 'used') AND used_at IS NOT NULL ORDER BY line
"""
# What was said of such a code before comes too late: it is used, and was nobody's.
SETTLED = """
UPDATE redemption SET outcome = 'already_redeemed'
FROM judged WHERE verdict IN ('new', 'taken') AND judged.id IS NULL
    AND redemption.project_id = %(project)s AND redemption.code = judged.code
    AND redemption.outcome = 'unknown_code' AND redemption.effect = 'redeem'
"""
TOLD_GIVEN = f"""
INSERT INTO pool_change (project_id, changed_at, pool_id, code, assignment_id, before, after)
SELECT %(project)s, {MOMENT}, %(pool_id)s, code, id, 'available', 'assigned'
FROM judged WHERE verdict IN ('new', 'taken') AND id IS NOT NULL ORDER BY line
"""  # noqa: S608  (made of constants)
TOLD_USED = f"""
INSERT INTO pool_change (project_id, changed_at, pool_id, code, assignment_id, before, after, used_at)
SELECT %(project)s, {MOMENT}, %(pool_id)s, code, id,
    coalesce(before, CASE WHEN id IS NULL THEN 'available' ELSE 'assigned' END), 'redeemed', used_at
FROM judged WHERE verdict IN ('new', 'taken', 'used') AND used_at IS NOT NULL ORDER BY line
"""  # noqa: S608  (made of constants)
# What was given elsewhere is no draw of this pool: the forecast does not count it (`given_besides`).
STOCK = """
UPDATE stock SET available = stock.available - sums.taken, reserved = stock.reserved - sums.leased,
    assigned = stock.assigned + sums.assigned - sums.used, redeemed = stock.redeemed + sums.redeemed,
    given_besides = stock.given_besides - sums.n
FROM (
    SELECT count(*) FILTER (WHERE verdict = 'taken') AS taken, count(*) FILTER (WHERE before = 'reserved') AS leased,
        count(*) FILTER (WHERE before = 'assigned') AS used, count(*) FILTER (WHERE used_at IS NULL) AS assigned,
        count(*) FILTER (WHERE used_at IS NOT NULL) AS redeemed,
        count(*) FILTER (WHERE verdict <> 'used') AS n
    FROM judged WHERE verdict IN ('new', 'taken', 'used')
) AS sums
WHERE project_id = %(project)s AND pool_id = %(pool_id)s AND slot = %(slot)s
"""
DONE = ("new", "taken", "used", "later")
"""Verdicts by which something is done."""


def judge(connection: Connection[TupleRow], rows: LiteralString, values: dict[str, object]) -> dict[str, int]:
    """Lock the codes of these rows and judge each; return how many there are of each verdict.

    Uses that are being stored are waited for first, and others wait until the transaction ends: no use of one of these
    codes is stored as of an unknown one once the code is here. A use from before is judged soon, and until then the
    code does not go back to the pool.
    """
    alone_on(connection)
    connection.execute(LOCK.format(rows=rows).encode(), values)
    connection.execute(JUDGE.format(rows=rows).encode(), values)
    return dict(connection.execute("SELECT verdict, count(*) FROM judged GROUP BY verdict").fetchall())


def bring_in(
    connection: Connection[TupleRow], values: dict[str, object], verdicts: Mapping[str, int]
) -> None:
    """Do what was judged: vouchers, ledger, uses, what is told of them; the stock last, for draws wait for it."""
    values = {**values, "tolerance": float(get_settings().clock_tolerance_seconds)}
    if "later" in verdicts:
        connection.execute(coming.ADD, values)
    for statement in (NEW, TAKEN, USED, LEDGER, LEASES, USES, SETTLED, TOLD_GIVEN, TOLD_USED, STOCK):
        connection.execute(statement.encode(), values)
