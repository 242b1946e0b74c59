"""SQL of the claim: LOCK takes what is free, WRITE makes it given. It stands here and nowhere else.

WRITE is made of the transitions ASSIGN and RESERVE: a request without a lease goes the one way, one with a lease the
other.
"""

import random
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any, Literal, TypedDict

import orjson
import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import TextClause, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.lifecycle.order import MOMENT
from app.domain.lifecycle.requests import LEDGER_ROW, AssignmentRequest, LedgerEntry, replayed
from app.domain.lifecycle.states import ASSIGN, RESERVE
from app.domain.lifecycle.stock import HELD, SLOT
from app.platform import records
from app.schema.inventory import NOT_EXPIRED, STOCK_SLOTS


class StoredRule(TypedDict):
    """A rule as a pool keeps it."""

    count: int
    days: int | None
    then: Literal["same", "refuse"]


@dataclass(frozen=True, slots=True)
class CustomerRule:
    """How many codes of a pool a customer gets."""

    count: int
    days: int | None
    """Of how many days the codes count; None: of all time."""
    then: Literal["same", "refuse"]
    """What a customer gets who has them all: the last one again, or an error."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many vouchers a draw may take from a pool with holds: its hold's first, then what is free."""

    n: int = 0
    from_hold: int = 0
    """How many of them are the hold's."""
    hold_id: uuid.UUID | None = None
    rule: CustomerRule | None = None
    """What the pool says of its customers."""


NONE_ALLOWED = Allowance()
"""Of a draw that knows no holds: from a pool that has some it gets nothing."""


def _lock(*, holds: bool) -> str:
    """Return SQL that locks up to `wanted` vouchers in draw order, from the process's cursor on and round to it again.

    What others hold locked is skipped, never waited for. Stock bounds the walk, so that an exhausted pool costs
    nothing; of a pool with holds, or a rule for customers, only as many as the draw is allowed may be taken.
    """
    allowed = "CAST(:allowance AS bigint)" if holds else "0"
    return f"""
target AS MATERIALIZED (
    SELECT id FROM pool WHERE name = :pool
), bound AS MATERIALIZED (
    SELECT LEAST(
        (SELECT n FROM wanted), sum(available)::bigint, CASE WHEN max(holds) > 0 THEN {allowed} END
    ) AS n
    FROM stock WHERE pool_id = (SELECT id FROM target)
), ahead AS MATERIALIZED (
    SELECT ctid AS place, code, draw_key, expires_at, attributes FROM voucher
    WHERE pool_id = (SELECT id FROM target) AND status = 'available' AND draw_key > :cursor
        AND {NOT_EXPIRED}
    ORDER BY draw_key LIMIT (SELECT n FROM bound)
    FOR UPDATE SKIP LOCKED
), behind AS MATERIALIZED (
    SELECT ctid AS place, code, draw_key, expires_at, attributes FROM voucher
    WHERE pool_id = (SELECT id FROM target) AND status = 'available' AND draw_key <= :cursor
        AND {NOT_EXPIRED}
    ORDER BY draw_key LIMIT (SELECT n FROM bound) - (SELECT count(*) FROM ahead)
    FOR UPDATE SKIP LOCKED
), locked AS MATERIALIZED (
    SELECT place, code, draw_key, expires_at, attributes, row_number() OVER () AS n
    FROM (SELECT * FROM ahead UNION ALL SELECT * FROM behind) AS round_trip
)"""  # noqa: S608  (made of constants)


# Gives the rows of `given` their vouchers, writes the ledger and moves the counts. The vouchers are reached by the
# place at which they were locked: a join by code tempts the planner into reading the whole table. A voucher that moved
# between the snapshot and the lock is not found there, and so is not given: all that follows is made from `marked`.
#
# Where the pool has holds, only a transaction with an allowance (app/domain/holds/service.py) may take from it. A hold
# made since the statement began is seen here, when the row of stock is locked: the count becomes NULL, which is
# refused, and the transaction is run again (`retry_on_conflict`).
#
# A threshold of an alert that the count falls to is noted with it: it will be told even if the count rises again.
#
# What is taken from a hold says so in the ledger: it returns there. What may be drawn by anybody is what is available
# and not held, so a draw from a hold takes nothing of it. A draw that is allowed nothing of holds (`holds` is false)
# leaves all that out: it is refused where there are any, and each part of a statement costs, used or not.
LEASE_UNTIL = "now() + make_interval(secs => lease_seconds)"


def _marks() -> str:
    """Return what a claim sets, by ASSIGN where no lease is asked for and by RESERVE where one is."""
    status = f"CASE WHEN given.lease_seconds IS NULL THEN '{ASSIGN.target}' ELSE '{RESERVE.target}' END"
    columns = {"status": f"{status}::voucher_status"}
    for column in {**ASSIGN.sets, **RESERVE.sets}:
        assigned, reserved = ASSIGN.sets.get(column), RESERVE.sets.get(column)
        both = (
            f"CASE WHEN given.lease_seconds IS NULL THEN {assigned or 'NULL'} ELSE {reserved or 'NULL'} END"
        )
        columns[column] = str(assigned) if assigned == reserved else both
    return ", ".join(f"{column} = {value}" for column, value in columns.items())


# The moment is taken once all vouchers are locked, for `marked` is looked for by their places.
def write_sql(*, holds: bool) -> str:
    """Return SQL that gives the rows of `given` their vouchers, for a draw that may take from holds or may not."""
    allowed = "holds = 0 OR CAST(:allowance AS bigint) > 0" if holds else "holds = 0"
    column, value = (
        (", hold_id", ", CASE WHEN of_hold THEN CAST(:hold_id AS uuid) END") if holds else ("", "")
    )
    free = "WHERE NOT of_hold" if holds else ""
    kept = (
        f"- CASE WHEN max(holds) > 0 THEN {HELD.format(pool_id='(SELECT id FROM target)')} ELSE 0 END"  # noqa: S608
        if holds
        else ""
    )
    return f"""
moment AS MATERIALIZED (
    SELECT {MOMENT} AS at
), marked AS (
    UPDATE voucher SET {_marks()}
    FROM given
    WHERE voucher.ctid = ANY (ARRAY(SELECT place FROM given)) AND voucher.ctid = given.place
    RETURNING given.*
), written AS (
    INSERT INTO assignment (
        id, pool_id, code, customer_id, campaign_id, message_id, occurrence, test, assigned_at, lease_until,
        lease_seconds{column}
    )
    SELECT id, (SELECT id FROM target), code, customer_id, campaign_id, message_id, occurrence, test,
        (SELECT at FROM moment), {LEASE_UNTIL}, lease_seconds{value}
    FROM marked ORDER BY marked.id
), counted AS (
    UPDATE stock SET
        available = CASE WHEN {allowed} THEN available - sums.n END,
        reserved = reserved + sums.leased,
        assigned = assigned + sums.n - sums.leased
    FROM (SELECT count(*) AS n, count(lease_seconds) AS leased FROM marked) AS sums
    WHERE pool_id = (SELECT id FROM target) AND slot = :slot AND sums.n > 0
), fallen AS (
    UPDATE alert_threshold SET fell_at = now(), available = sums.left_in
    FROM (
        SELECT sum(available)::bigint - (SELECT count(*) FROM marked {free}) {kept} AS left_in
        FROM stock WHERE pool_id = (SELECT id FROM target)
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


class Ids(Enum):
    """What a claim knows of customers who have several ids, because they were merged."""

    SINGLE = auto()
    """It takes each id for a person of its own, and gives nothing as soon as anybody was merged."""
    ASKED = auto()
    """It gives nothing to an id that a merge has concerned, and says so."""
    RESOLVED = auto()
    """Its requests name persons; the transaction has looked for whom their ids stand."""


ANY_MERGED = "(SELECT EXISTS (SELECT FROM customer_alias))"
MERGED = f"""(
    {ANY_MERGED} AND (SELECT true FROM customer_alias AS alias WHERE alias.id = sent.customer_id) IS NOT NULL
)"""  # noqa: S608  (made of constants)


@cache
def _claim(ids: Ids, *, holds: bool) -> TextClause:
    """Return the statement that finds for each request the ledger row that it has already, or gives it a voucher.

    A request that is missing in the answer got none. OFFSET 0 keeps the look-up a look-up: planned while the ledger is
    small, a join would read all of it for ever after.

    Args:
        ids: what is known of the customers' ids.
        holds: whether the draw may take from holds.
    """
    asked = ids is Ids.ASKED
    sent = f"SELECT *, {MERGED} AS merged FROM ({REQUESTS}) AS sent" if asked else REQUESTS  # noqa: S608
    served = {Ids.SINGLE: f"WHERE NOT {ANY_MERGED}", Ids.ASKED: "WHERE NOT merged", Ids.RESOLVED: ""}[ids]
    of_hold = ", n <= :from_hold AS of_hold" if holds else ""
    of_merged = (
        "UNION ALL SELECT position, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL FROM sent WHERE merged"
    )
    return text(f"""
WITH sent AS MATERIALIZED (
    {sent}
), request AS NOT MATERIALIZED (
    SELECT * FROM sent {served}
), known AS MATERIALIZED (
    SELECT request.position, before.id
    FROM request, LATERAL (SELECT id FROM assignment WHERE assignment.id = request.id OFFSET 0) AS before
), fresh AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY position) AS n
    FROM request WHERE NOT EXISTS (SELECT FROM known WHERE known.id = request.id)
), wanted AS (
    SELECT count(*) AS n FROM fresh
), {_lock(holds=holds)}, given AS MATERIALIZED (
    SELECT fresh.*, locked.place, locked.code, locked.draw_key, locked.expires_at, locked.attributes {of_hold}
    FROM fresh JOIN locked USING (n)
), {write_sql(holds=holds)}
SELECT position, draw_key, {"of_hold" if holds else "false"}, NULL::uuid, code, (SELECT at FROM moment), {LEASE_UNTIL},
    expires_at, attributes
FROM marked
UNION ALL
SELECT position, NULL, false, id, NULL, NULL, NULL, NULL, NULL FROM known
{of_merged if asked else ""}
""")  # noqa: S608  (made of constants)


REPLAYED = text(f"""
SELECT {LEDGER_ROW} FROM assignment LEFT JOIN voucher ON voucher.code = assignment.code
WHERE assignment.id = ANY (CAST(:ids AS uuid[]))
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim gave."""

    ledger: list[LedgerEntry]
    draw_keys: list[int]
    """Of the vouchers that are newly given."""
    from_hold: int
    """How many of these were taken from the hold."""
    merged: list[int]
    """Places of requests that got nothing because their customers may have other ids."""
    known: list[uuid.UUID]
    """Ids of requests that were given something before."""


async def claim(
    connection: AsyncConnection,
    pool: str,
    requests: Sequence[AssignmentRequest],
    cursor: int,
    allowance: Allowance,
    ids: Ids = Ids.ASKED,
) -> Claimed:
    """Claim a voucher for each request; none of them asks for a life (`valid_for_seconds`)."""
    statement = _claim(ids, holds=allowance is not NONE_ALLOWED)
    parameters = _parameters(pool, requests, cursor, allowance)
    claimed = _claimed(pool, requests, await connection.execute(statement, parameters))
    if claimed.known:
        rows = await connection.execute(REPLAYED, {"ids": claimed.known})
        claimed.ledger.extend(replayed(pool, row) for row in rows)
    return claimed


def numbered(statement: TextClause) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with PostgreSQL's own `$1`, and the names of its parameters in that order.

    The driver translates its own placeholders anew each time where a statement is longer than 4096 bytes.
    """
    compiled = str(statement.compile(dialect=postgresql.psycopg.dialect()))  # type: ignore[no-untyped-call]
    names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", compiled)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", compiled)
    return numbered.replace("%%", "%").encode(), names


_REPLAYED, _ = numbered(REPLAYED)


@cache
def _direct(ids: Ids) -> tuple[bytes, tuple[str, ...]]:
    return numbered(_claim(ids, holds=False))


def direct(
    pool: str, requests: Sequence[AssignmentRequest], cursor: int, ids: Ids = Ids.SINGLE
) -> tuple[bytes, list[object]]:
    """Return the claim from what nobody holds as the driver sends it, and its parameters."""
    statement, names = _direct(ids)
    parameters = _parameters(pool, requests, cursor, NONE_ALLOWED)
    return statement, [parameters[name] for name in names]


async def claim_direct(
    connection: psycopg.AsyncConnection[TupleRow],
    pool: str,
    requests: Sequence[AssignmentRequest],
    cursor: int,
    ids: Ids,
) -> Claimed:
    """Claim as `claim` does, on a connection of the driver's own, from what nobody holds."""
    rows = psycopg.AsyncRawCursor(connection)
    await rows.execute(*direct(pool, requests, cursor, ids))
    claimed = _claimed(pool, requests, await rows.fetchall())
    if claimed.known:
        await rows.execute(_REPLAYED, [claimed.known])
        claimed.ledger.extend(replayed(pool, row) for row in await rows.fetchall())
    return claimed


def _parameters(
    pool: str, requests: Sequence[AssignmentRequest], cursor: int, allowance: Allowance
) -> dict[str, object]:
    return {
        "pool": pool,
        "allowance": allowance.n,
        "from_hold": allowance.from_hold,
        "hold_id": allowance.hold_id,
        "cursor": cursor,
        "slot": SLOT,
        "requests": orjson.dumps(requests).decode(),
    }


def _claimed(  # type: ignore[explicit-any]  # rows of two drivers, by place
    pool: str, requests: Sequence[AssignmentRequest], rows: Iterable[Sequence[Any]]
) -> Claimed:
    ledger: list[LedgerEntry] = []
    draw_keys: list[int] = []
    merged: list[int] = []
    known: list[uuid.UUID] = []
    from_hold = 0
    for position, draw_key, of_hold, known_id, code, at, lease_until, expires_at, attributes in rows:
        if draw_key is None:
            if known_id is None:
                merged.append(position - 1)
            else:
                known.append(known_id)
            continue
        draw_keys.append(draw_key)
        from_hold += of_hold
        request = requests[position - 1]
        ledger.append(
            LedgerEntry(
                request.id,
                pool,
                code,
                request.customer_id,
                request.campaign_id,
                request.message_id,
                request.occurrence,
                request.test,
                at,
                lease_until,
                request.lease_seconds,
                None,
                expires_at,
                "assigned" if request.lease_seconds is None else "reserved",
                False,  # newly given; names of arguments cost
                attributes,
            )
        )
    return Claimed(ledger, draw_keys, from_hold, merged, known)


# The two halves of the claim for what is drawn first and given later in the same transaction, such as a message.
@cache
def _lock_only(*, holds: bool) -> TextClause:
    return text(f"""
WITH wanted AS (SELECT CAST(:n AS bigint) AS n), {_lock(holds=holds)}
SELECT place, code, draw_key, expires_at, attributes FROM locked ORDER BY n
""")  # noqa: S608  (made of constants)


@cache
def _write_only(*, holds: bool) -> TextClause:
    of_hold = ", position <= :from_hold AS of_hold" if holds else ""
    return text(f"""
WITH target AS MATERIALIZED (
    SELECT id FROM pool WHERE name = :pool
), given AS MATERIALIZED (
    SELECT request.*, locked.place, locked.code {of_hold}
    FROM ({REQUESTS}) AS request JOIN ROWS FROM (
        unnest(CAST(:places AS tid[])), unnest(CAST(:codes AS text[]))
    ) WITH ORDINALITY AS locked (place, code, position) USING (position)
), {write_sql(holds=holds)}
SELECT count(*) FROM marked
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class Locked:
    """A voucher that is locked until the transaction ends and given to nobody yet."""

    place: str
    code: str
    draw_key: int
    expires_at: datetime | None
    attributes: dict[str, str] | None = None


async def lock(
    connection: AsyncConnection, pool: str, n: int, cursor: int, allowance: Allowance
) -> list[Locked]:
    """Lock up to `n` available vouchers."""
    parameters = {"pool": pool, "n": n, "cursor": cursor, "allowance": allowance.n}
    statement = _lock_only(holds=allowance is not NONE_ALLOWED)
    return [Locked(*row) for row in await connection.execute(statement, parameters)]


THIS = text("""
SELECT ctid AS place, code, draw_key, expires_at, attributes FROM voucher
WHERE code = :code AND pool_id = (SELECT id FROM pool WHERE name = :pool) AND status = 'available'
    AND (expires_at IS NULL OR expires_at > now() + make_interval(secs => CAST(:valid_for AS double precision)))
FOR UPDATE
""")


async def lock_this(connection: AsyncConnection, pool: str, code: str, valid_for: int) -> Locked | None:
    """Lock a voucher of the pool; return None where it is not available, or not for `valid_for` seconds more."""
    parameters = {"pool": pool, "code": code, "valid_for": valid_for}
    row = (await connection.execute(THIS, parameters)).one_or_none()
    return None if row is None else Locked(*row)


async def write(
    connection: AsyncConnection,
    pool: str,
    gifts: Sequence[tuple[AssignmentRequest, Locked]],
    allowance: Allowance,
) -> int:
    """Give each request the voucher that this transaction locked for it; how many were where they were locked."""
    parameters = {
        "pool": pool,
        "slot": random.randrange(STOCK_SLOTS),  # noqa: S311  (spreads writers, no secret)
        "allowance": allowance.n,
        "from_hold": allowance.from_hold,
        "hold_id": allowance.hold_id,
        "requests": orjson.dumps([request for request, _ in gifts]).decode(),
        "places": [row.place for _, row in gifts],
        "codes": [row.code for _, row in gifts],
    }
    statement = _write_only(holds=allowance is not NONE_ALLOWED)
    result = await connection.execute(statement, parameters)
    return int(result.scalar_one())


WHAT_IS_LEFT = text(f"""
SELECT counts.available > 0 AND EXISTS (
    SELECT FROM voucher
    WHERE pool_id = pool.id AND status = 'available' AND {NOT_EXPIRED} AND code <> ALL (CAST(:ours AS text[]))
) AS any_left, counts.holds > 0 AS held, pool.per_customer IS NOT NULL AS ruled, {ANY_MERGED} AS any_merged
FROM pool, LATERAL (
    SELECT sum(available) AS available, max(holds) AS holds FROM stock WHERE pool_id = pool.id
) AS counts
WHERE name = :pool
""")  # noqa: S608  (made of constants)


@dataclass(frozen=True, slots=True)
class Left:
    """What a pool has besides what a transaction has locked."""

    any_left: bool
    """Whether a voucher is available, locked or not."""
    held: bool
    """Whether some are held, or the pool has a rule for customers."""
    ruled: bool
    """Whether it has such a rule."""
    any_merged: bool
    """Whether any customers were merged, in whatever pool."""


async def what_is_left(connection: AsyncConnection, pool: str, ours: Sequence[str]) -> Left | None:
    """Return what the pool has besides `ours`; None where there is no such pool."""
    parameters = {"pool": pool, "ours": list(ours)}
    return records.any_of(await connection.execute(WHAT_IS_LEFT, parameters), Left)


# The first in draw order: the same one as long as nobody draws it.
NEXT = text(f"""
SELECT ctid AS place, code, draw_key, expires_at, attributes FROM voucher
WHERE pool_id = (SELECT id FROM pool WHERE name = :pool) AND status = 'available' AND {NOT_EXPIRED}
ORDER BY draw_key LIMIT 1
""")  # noqa: S608  (made of constants)


async def peek(connection: AsyncConnection, pool: str) -> Locked | None:
    """Return an available voucher of the pool, neither taken nor locked."""
    row = (await connection.execute(NEXT, {"pool": pool})).one_or_none()
    return None if row is None else Locked(*row)
