"""SQL of the claim: what locks vouchers that are free, and what makes them given. It stands here and nowhere else.

What gives is made of the transitions ASSIGN and RESERVE: a request without a lease goes the one way, one with a lease
the other.
"""

import re
from collections.abc import Sequence
from enum import Enum, auto
from functools import cache

from sqlalchemy import TextClause, text
from sqlalchemy.dialects import postgresql

from app.domain.lifecycle.order import MOMENT
from app.domain.lifecycle.requests import LEDGER_ROW
from app.domain.lifecycle.states import ASSIGN, RESERVE
from app.platform.connections import PARAMETER
from app.schema.inventory import NOT_EXPIRED

END_AFTER = "now() + make_interval(days => expires_after_days)"
"""SQL over a `pool`: when what it gives now ends for who gets it; null where only the code's own expiry counts."""


def target(*, holds: bool) -> str:
    """Return SQL that finds the pool; what it says of expiry counts as a hold, so that other draws need not ask."""
    end_after = f", {END_AFTER} AS end_after" if holds else ""
    return f"SELECT id{end_after} FROM pool WHERE project_id = :project AND name = :pool"  # noqa: S608


def _locking(*, holds: bool, told: Sequence[str] = (), one: bool = False) -> str:
    """Return SQL that locks up to `wanted` vouchers in draw order, from the process's cursor on to the pool's end.

    `locked` has their places and the columns that are `told`, and their numbers unless it is `one`. Who gets less walks
    again, from the beginning: a second walk in the same statement would cost each draw, and few come to the end.

    The pool is found in its project, and all else by the pool: a condition by project on each table costs 7 % of a
    claim. What others hold locked is skipped, never waited for. Stock bounds the walk, so that an exhausted pool costs
    nothing; of a pool with holds, or a rule for customers, only as many as the draw is allowed may be taken.
    """
    allowed = "CAST(:allowance AS bigint)" if holds else "0"
    columns = "".join(f", {column}" for column in told)
    walk = f"""
        SELECT ctid AS place{columns} FROM voucher
        WHERE pool_id = (SELECT id FROM target) AND status = 'available' AND draw_key > :cursor
            AND {NOT_EXPIRED}
        ORDER BY draw_key LIMIT (SELECT n FROM bound)
        FOR UPDATE SKIP LOCKED
    """  # noqa: S608  (made of constants)
    return f"""
target AS MATERIALIZED (
    {target(holds=holds)}
), bound AS MATERIALIZED (
    SELECT LEAST(
        (SELECT n FROM wanted), sum(available)::bigint, CASE WHEN max(holds) > 0 THEN {allowed} END
    ) AS n
    FROM stock WHERE pool_id = (SELECT id FROM target)
), locked AS MATERIALIZED (
    {walk if one else f"SELECT *, row_number() OVER () AS n FROM ({walk}) AS walk"}
)"""  # noqa: S608  (made of constants)


LEASE_UNTIL = "now() + make_interval(secs => lease_seconds)"


def _marks(*, holds: bool) -> str:
    """Return what a claim sets, by ASSIGN where no lease is asked for and by RESERVE where one is.

    Where the pool ends codes sooner than they would themselves, the voucher keeps its own expiry for a release.
    """
    status = f"CASE WHEN given.lease_seconds IS NULL THEN '{ASSIGN.target}' ELSE '{RESERVE.target}' END"
    columns = {"status": status}
    for column in {**ASSIGN.sets, **RESERVE.sets}:
        assigned, reserved = ASSIGN.sets.get(column), RESERVE.sets.get(column)
        both = (
            f"CASE WHEN given.lease_seconds IS NULL THEN {assigned or 'NULL'} ELSE {reserved or 'NULL'} END"
        )
        columns[column] = str(assigned) if assigned == reserved else both
    if holds:
        end = "(SELECT end_after FROM target)"
        own = "coalesce(voucher.expires_at, 'infinity')"
        columns["expires_at"] = f"LEAST(voucher.expires_at, {end})"
        columns["own_expires_at"] = f"CASE WHEN {end} < {own} THEN {own} END"
    return ", ".join(f"{column} = {value}" for column, value in columns.items())


GIVEN = "position, id, customer_id, campaign_id, message_id, occurrence, test, lease_seconds"
"""Columns of a request that was given its voucher."""


# Gives the rows of `given` their vouchers, writes the ledger and moves the counts. The vouchers are reached by the
# place at which they were locked: a join by code tempts the planner into reading the whole table. A voucher that moved
# between the snapshot and the lock is not found there, and so is not given: all that follows is made from `marked`,
# which reads code and expiry off the voucher itself: each column costs in each step that it is handed through.
#
# Where the pool has holds, only a transaction with an allowance (app/domain/holds/service.py) may take from it. A hold
# made since the statement began is seen here, when the row of stock is locked: the count becomes NULL, which is
# refused, and the transaction is run again (`retry_on_conflict`).
#
# Which thresholds of alerts the count falls to is noted by who lifts it again (thresholds.py), not by each draw.
#
# What is taken from a hold says so in the ledger: it returns there. What may be drawn by anybody is what is available
# and not held, so a draw from a hold takes nothing of it. A draw that is allowed nothing of holds (`holds` is false)
# leaves all that out: it is refused where there are any, and each part of a statement costs, used or not.
#
# The moment is taken once all vouchers are locked, for `marked` is looked for by their places.
def writing(*, holds: bool, one: bool = False) -> str:
    """Return SQL that gives the rows of `given` their vouchers, for a draw that may take from holds or may not.

    Where it is `one`, nothing has to be found among many, nor put in order.
    """
    its_own = "voucher.ctid = ANY (ARRAY(SELECT place FROM given)) AND voucher.ctid = given.place"
    in_order = " ORDER BY marked.id"
    if one:
        its_own, in_order = "voucher.ctid = (SELECT place FROM locked)", ""
    allowed = "holds = 0 OR CAST(:allowance AS bigint) > 0" if holds else "holds = 0"
    column, value = (
        (", hold_id", ", CASE WHEN of_hold THEN CAST(:hold_id AS uuid) END") if holds else ("", "")
    )
    of_hold = ", of_hold" if holds else ""
    return f"""
moment AS MATERIALIZED (
    SELECT {MOMENT} AS at
), marked AS (
    UPDATE voucher SET {_marks(holds=holds)}
    FROM given
    WHERE {its_own}
    RETURNING {GIVEN}{of_hold}, voucher.code, voucher.draw_key, voucher.expires_at, voucher.attributes
), written AS (
    INSERT INTO assignment (
        project_id, id, pool_id, code, customer_id, campaign_id, message_id, occurrence, test, assigned_at, lease_until,
        lease_seconds{column}
    )
    SELECT :project, id, (SELECT id FROM target), code, customer_id, campaign_id, message_id,
        occurrence, test, (SELECT at FROM moment), {LEASE_UNTIL}, lease_seconds{value}
    FROM marked{in_order}
), counted AS (
    UPDATE stock SET
        available = CASE WHEN {allowed} THEN available - sums.n END,
        reserved = reserved + sums.leased,
        assigned = assigned + sums.n - sums.leased
    FROM (SELECT count(*) AS n, count(lease_seconds) AS leased FROM marked) AS sums
    WHERE pool_id = (SELECT id FROM target) AND slot = :slot AND sums.n > 0
)"""  # noqa: S608  (made of constants)


# One JSON text (`requests.to_json`): a fraction of the cost of an array per column.
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


ANY_MERGED = "(SELECT EXISTS (SELECT FROM customer_alias WHERE project_id = :project))"
MERGED = f"""(
    {ANY_MERGED} AND (
        SELECT true FROM customer_alias AS alias WHERE alias.project_id = :project AND alias.id = sent.customer_id
    ) IS NOT NULL
)"""  # noqa: S608  (made of constants)


def _answer(*, of_hold: str = "false") -> str:
    """Return SQL that tells what was given, and which requests were given something before."""
    return f"""
SELECT position, draw_key, {of_hold}, NULL::uuid, code, (SELECT at FROM moment), {LEASE_UNTIL},
    expires_at, attributes
FROM marked
UNION ALL
SELECT position, NULL, false, id, NULL, NULL, NULL, NULL, NULL FROM known
"""  # noqa: S608  (made of constants)


# Its request is told by parameters. What reads, numbers, orders and joins many takes the server a fifth of a claim.
CLAIM_ONE = text(f"""
WITH known AS MATERIALIZED (
    SELECT 1::bigint AS position, id FROM assignment
    WHERE project_id = :project AND assignment.id = :id AND NOT {ANY_MERGED}
), wanted AS (
    SELECT CAST(NOT EXISTS (SELECT FROM known) AND NOT {ANY_MERGED} AS int) AS n
), {_locking(holds=False, one=True)}, given AS NOT MATERIALIZED (
    SELECT 1::bigint AS position, CAST(:id AS uuid) AS id, CAST(:customer_id AS text) AS customer_id,
        CAST(:campaign_id AS text) AS campaign_id, CAST(:message_id AS text) AS message_id,
        CAST(:occurrence AS bigint) AS occurrence, CAST(:test AS boolean) AS test,
        CAST(:lease_seconds AS bigint) AS lease_seconds, locked.place
    FROM locked
), {writing(holds=False, one=True)}
{_answer()}
""")  # noqa: S608  (made of constants)
"""Finds the ledger row of one request by itself, or gives it a voucher that nobody holds; as `claim`, `Ids.SINGLE`."""


@cache
def claim(ids: Ids, *, holds: bool) -> TextClause:
    """Return the statement that finds for each request the ledger row that it has already, or gives it a voucher.

    A request that is missing in the answer got none. OFFSET 0 keeps the look-up a look-up: planned while the ledger is
    small, a join would read all of it for ever after.

    Args:
        ids: what is known of the customers' ids.
        holds: whether the draw may take from holds.
    """
    asked = ids is Ids.ASKED
    sent = {
        Ids.SINGLE: f"{REQUESTS} WHERE NOT {ANY_MERGED}",
        Ids.ASKED: f"SELECT *, {MERGED} AS merged FROM ({REQUESTS}) AS sent",  # noqa: S608
        Ids.RESOLVED: REQUESTS,
    }[ids]
    of_hold = ", n <= :from_hold AS of_hold" if holds else ""
    of_merged = (
        "UNION ALL SELECT position, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL FROM sent WHERE merged"
    )
    return text(f"""
WITH sent AS MATERIALIZED (
    {sent}
), request AS NOT MATERIALIZED (
    SELECT * FROM sent {"WHERE NOT merged" if asked else ""}
), known AS MATERIALIZED (
    SELECT request.position, before.id
    FROM request, LATERAL (
        SELECT id FROM assignment WHERE project_id = :project AND assignment.id = request.id OFFSET 0
    ) AS before
), fresh AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY position) AS n
    FROM request WHERE NOT EXISTS (SELECT FROM known WHERE known.id = request.id)
), wanted AS (
    SELECT count(*) AS n FROM fresh
), {_locking(holds=holds)}, given AS MATERIALIZED (
    SELECT fresh.*, locked.place {of_hold} FROM fresh JOIN locked USING (n)
), {writing(holds=holds)}
{_answer(of_hold="of_hold" if holds else "false")}
{of_merged if asked else ""}
""")  # noqa: S608  (made of constants)


# Looked up one by one, as in the claim.
REPLAYED = text(f"""
SELECT {LEDGER_ROW}
FROM unnest(CAST(:ids AS uuid[])) AS known (id), LATERAL (
    SELECT * FROM assignment WHERE project_id = :project AND assignment.id = known.id OFFSET 0
) AS assignment LEFT JOIN LATERAL (
    SELECT status, expires_at, attributes FROM voucher
    WHERE project_id = :project AND voucher.code = assignment.code OFFSET 0
) AS voucher ON true
""")  # noqa: S608  (made of constants)


# The two halves of the claim for what is drawn first and given later in the same transaction, such as a message.
@cache
def lock(*, holds: bool) -> TextClause:
    """Return the statement that locks vouchers which are given later in the transaction."""
    told = ("code", "draw_key", "expires_at", "attributes")
    expires_at = "LEAST(expires_at, (SELECT end_after FROM target)) AS expires_at" if holds else "expires_at"
    return text(f"""
WITH wanted AS (SELECT CAST(:n AS bigint) AS n), {_locking(holds=holds, told=told)}
SELECT place, code, draw_key, {expires_at}, attributes FROM locked ORDER BY n
""")  # noqa: S608  (made of constants)


@cache
def write(*, holds: bool) -> TextClause:
    """Return the statement that gives requests the vouchers that were locked for them."""
    of_hold = ", position <= :from_hold AS of_hold" if holds else ""
    return text(f"""
WITH target AS MATERIALIZED (
    {target(holds=holds)}
), given AS MATERIALIZED (
    SELECT request.*, locked.place {of_hold}
    FROM ({REQUESTS}) AS request
    JOIN unnest(CAST(:places AS tid[])) WITH ORDINALITY AS locked (place, position) USING (position)
), {writing(holds=holds)}
SELECT count(*) FROM marked
""")  # noqa: S608  (made of constants)


def numbered(statement: TextClause) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with PostgreSQL's own `$1`, which is its project, and the names of the others in their order.

    The driver translates its own placeholders anew each time where a statement is longer than 4096 bytes.
    """
    compiled = str(statement.compile(dialect=postgresql.psycopg.dialect()))  # type: ignore[no-untyped-call]
    names = tuple(dict.fromkeys([PARAMETER, *re.findall(r"%\((\w+)\)s", compiled)]))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", compiled)
    return numbered.replace("%%", "%").encode(), names[1:]
