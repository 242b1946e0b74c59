"""SQL of the claim: LOCK takes what is free, WRITE makes it given. It stands here and nowhere else."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import psycopg
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.requests import AssignmentRequest, LedgerEntry, given
from app.domain.lifecycle.stock import SLOT
from app.platform.database import AnyRow
from app.schema.inventory import STOCK_SLOTS

# Locks up to `wanted` vouchers in draw order, from the process's cursor on and round to it again. What others hold
# locked is skipped, never waited for. Stock bounds the walk, so that an exhausted pool costs nothing.
LOCK = """
target AS MATERIALIZED (
    SELECT id FROM pool WHERE name = :pool
), bound AS MATERIALIZED (
    SELECT LEAST(
        (SELECT n FROM wanted), sum(available)::bigint,
        CASE WHEN max(holds) > 0 THEN CAST(:allowance AS bigint) END
    ) AS n
    FROM stock WHERE pool_id = (SELECT id FROM target)
), ahead AS MATERIALIZED (
    SELECT ctid AS place, code, draw_key FROM voucher
    WHERE pool_id = (SELECT id FROM target) AND status = 'available' AND draw_key > :cursor
        AND (expires_at IS NULL OR expires_at > now())
    ORDER BY draw_key LIMIT (SELECT n FROM bound)
    FOR UPDATE SKIP LOCKED
), behind AS MATERIALIZED (
    SELECT ctid AS place, code, draw_key FROM voucher
    WHERE pool_id = (SELECT id FROM target) AND status = 'available' AND draw_key <= :cursor
        AND (expires_at IS NULL OR expires_at > now())
    ORDER BY draw_key LIMIT (SELECT n FROM bound) - (SELECT count(*) FROM ahead)
    FOR UPDATE SKIP LOCKED
), locked AS MATERIALIZED (
    SELECT place, code, draw_key, row_number() OVER () AS n
    FROM (SELECT * FROM ahead UNION ALL SELECT * FROM behind) AS round_trip
)"""


# Gives the rows of `given` their vouchers, writes the ledger and moves the counts. The vouchers are reached by the
# place at which they were locked: a join by code tempts the planner into reading the whole table. A voucher that moved
# between the snapshot and the lock is not found there, and so is not given: all that follows is made from `marked`.
#
# Where the pool has holds, only a transaction with an allowance (app/domain/holds/service.py) may take from it. A hold
# made since the statement began is seen here, when the row of stock is locked: the count becomes NULL, which is
# refused, and the transaction is run again (`retry_on_conflict`).
#
# A threshold of an alert that the count falls to is noted with it: it will be told even if the count rises again.
LEASE_UNTIL = "now() + make_interval(secs => lease_seconds)"


WRITE = f"""
marked AS (
    UPDATE voucher SET
        status = CASE WHEN given.lease_seconds IS NULL THEN 'assigned' ELSE 'reserved' END::voucher_status,
        assigned_at = CASE WHEN given.lease_seconds IS NULL THEN now() END,
        assignment_id = given.id
    FROM given
    WHERE voucher.ctid = ANY (ARRAY(SELECT place FROM given)) AND voucher.ctid = given.place
    RETURNING given.*
), written AS (
    INSERT INTO assignment (id, pool_id, code, customer_id, campaign_id, message_id, occurrence, test, lease_until)
    SELECT id, (SELECT id FROM target), code, customer_id, campaign_id, message_id, occurrence, test,
        {LEASE_UNTIL}
    FROM marked ORDER BY marked.id
), counted AS (
    UPDATE stock SET
        available = CASE WHEN holds = 0 OR CAST(:allowance AS bigint) > 0 THEN available - sums.n END,
        reserved = reserved + sums.leased,
        assigned = assigned + sums.n - sums.leased
    FROM (SELECT count(*) AS n, count(lease_seconds) AS leased FROM marked) AS sums
    WHERE pool_id = (SELECT id FROM target) AND slot = :slot AND sums.n > 0
), fallen AS (
    UPDATE alert_threshold SET fell_at = now(), available = sums.left_in
    FROM (
        SELECT (SELECT sum(available)::bigint FROM stock WHERE pool_id = (SELECT id FROM target))
            - (SELECT count(*) FROM marked) AS left_in
    ) AS sums
    WHERE pool_id = (SELECT id FROM target) AND fell_at IS NULL AND threshold >= sums.left_in
)"""  # noqa: S608  (made of constants)


# One JSON text: a fraction of the cost of an array per column.
REQUESTS = """
    SELECT * FROM ROWS FROM (
        json_to_recordset(CAST(:requests AS json)) AS (
            id uuid, customer_id text, campaign_id text, message_id text, occurrence bigint, test boolean,
            lease_seconds bigint
        )
    ) WITH ORDINALITY AS request (
        id, customer_id, campaign_id, message_id, occurrence, test, lease_seconds, position
    )
"""


# Each request gets the ledger row that it has already, or a voucher. A request that is missing in the answer got none.
# OFFSET 0 keeps the look-up a look-up: planned while the ledger is small, a join would read all of it for ever after.
CLAIM = text(f"""
WITH request AS MATERIALIZED (
    {REQUESTS}
), known AS MATERIALIZED (
    SELECT request.position, before.*
    FROM request, LATERAL (SELECT * FROM assignment WHERE assignment.id = request.id OFFSET 0) AS before
), fresh AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY position) AS n
    FROM request WHERE NOT EXISTS (SELECT FROM known WHERE known.id = request.id)
), wanted AS (
    SELECT count(*) AS n FROM fresh
), {LOCK}, given AS MATERIALIZED (
    SELECT fresh.*, locked.place, locked.code, locked.draw_key FROM fresh JOIN locked USING (n)
), {WRITE}
SELECT position, draw_key, code, NULL, NULL, NULL, NULL, NULL, now(), {LEASE_UNTIL}, NULL FROM marked
UNION ALL
SELECT position, NULL, code, customer_id, campaign_id, message_id, occurrence, test,
    assigned_at, lease_until, released_at
FROM known
""")  # noqa: S608  (made of constants)


async def claim(
    connection: AsyncConnection, pool: str, requests: Sequence[AssignmentRequest], cursor: int, allowance: int
) -> tuple[list[LedgerEntry], list[int]]:
    """Claim a voucher for each request; what was given, and the draw keys of what is new.

    From a pool with holds, at most `allowance` vouchers are taken.
    """
    parameters = _parameters(pool, requests, cursor, allowance)
    return _claimed(pool, requests, await connection.execute(CLAIM, parameters))


CLAIM_DIRECT = str(CLAIM.compile(dialect=postgresql.psycopg.dialect())).encode()  # type: ignore[no-untyped-call]


async def claim_direct(
    connection: psycopg.AsyncConnection[Any], pool: str, requests: Sequence[AssignmentRequest], cursor: int
) -> tuple[list[LedgerEntry], list[int]]:
    """`claim` on a connection of the driver's own, from what nobody holds."""
    rows = await connection.execute(CLAIM_DIRECT, _parameters(pool, requests, cursor, allowance=0))
    return _claimed(pool, requests, await rows.fetchall())


def _parameters(
    pool: str, requests: Sequence[AssignmentRequest], cursor: int, allowance: int
) -> dict[str, Any]:
    return {
        "pool": pool,
        "allowance": allowance,
        "cursor": cursor,
        "slot": SLOT,
        "requests": orjson.dumps(requests).decode(),
    }


def _claimed(
    pool: str, requests: Sequence[AssignmentRequest], rows: Iterable[Sequence[Any]]
) -> tuple[list[LedgerEntry], list[int]]:
    ledger: list[LedgerEntry] = []
    draw_keys: list[int] = []
    for place, draw_key, *row in rows:
        request = requests[place - 1]
        if draw_key is not None:
            draw_keys.append(draw_key)
            row[1:6] = (
                request.customer_id,
                request.campaign_id,
                request.message_id,
                request.occurrence,
                request.test,
            )
        ledger.append(given(pool, (request.id, *row, draw_key is None)))
    return ledger, draw_keys


# The two halves of the claim for what is drawn first and given later in the same transaction, such as a message.
LOCK_ONLY = text(f"""
WITH wanted AS (SELECT CAST(:n AS bigint) AS n), {LOCK}
SELECT place, code, draw_key FROM locked ORDER BY n
""")  # noqa: S608  (made of constants)


WRITE_ONLY = text(f"""
WITH target AS MATERIALIZED (
    SELECT id FROM pool WHERE name = :pool
), given AS MATERIALIZED (
    SELECT request.*, locked.place, locked.code FROM ({REQUESTS}) AS request JOIN ROWS FROM (
        unnest(CAST(:places AS tid[])), unnest(CAST(:codes AS text[]))
    ) WITH ORDINALITY AS locked (place, code, position) USING (position)
), {WRITE}
SELECT count(*) FROM marked
""")  # noqa: S608  (made of constants)


async def lock(
    connection: AsyncConnection, pool: str, n: int, cursor: int, allowance: int
) -> Sequence[AnyRow]:
    """Lock up to `n` available vouchers until the transaction ends; their `place`, `code` and `draw_key`."""
    parameters = {"pool": pool, "n": n, "cursor": cursor, "allowance": allowance}
    return (await connection.execute(LOCK_ONLY, parameters)).all()


async def write(
    connection: AsyncConnection, pool: str, gifts: Sequence[tuple[AssignmentRequest, AnyRow]], allowance: int
) -> int:
    """Give each request the voucher that this transaction locked for it; how many were where they were locked."""
    parameters = {
        "pool": pool,
        "slot": random.randrange(STOCK_SLOTS),  # noqa: S311  (spreads writers, no secret)
        "allowance": allowance,
        "requests": orjson.dumps([request for request, _ in gifts]).decode(),
        "places": [row.place for _, row in gifts],
        "codes": [row.code for _, row in gifts],
    }
    result = await connection.execute(WRITE_ONLY, parameters)
    return int(result.scalar_one())


ANYTHING_LEFT = text("""
SELECT counts.available > 0 AND EXISTS (
    SELECT FROM voucher
    WHERE pool_id = pool.id AND status = 'available' AND (expires_at IS NULL OR expires_at > now())
        AND code <> ALL (CAST(:ours AS text[]))
) AS any_left, counts.holds > 0 AS held
FROM pool, LATERAL (
    SELECT sum(available) AS available, max(holds) AS holds FROM stock WHERE pool_id = pool.id
) AS counts
WHERE name = :pool
""")


async def anything_left(connection: AsyncConnection, pool: str, ours: Sequence[str]) -> AnyRow | None:
    """Whether the pool has an available voucher besides `ours`, locked or not, and whether some are held.

    None where there is no such pool.
    """
    return (await connection.execute(ANYTHING_LEFT, {"pool": pool, "ours": list(ours)})).one_or_none()
